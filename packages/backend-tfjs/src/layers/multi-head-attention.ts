import type { serialization } from '@tensorflow/tfjs-core';
import type { TfTensor } from '../tf.js';
import {
  type AttentionArgs,
  type AttentionSettings,
  type AttentionWeights,
  addAttentionWeights,
  attend,
  attentionConfig,
  attentionOutputShape,
  attentionSettings,
} from './attention-part.js';
import { type OwnNames, requireNames } from './config.js';
import { DropoutSeeds } from './dropout-seeds.js';
import type { CallArgs, FullTf, LayerClass, Shape } from './full-tf.js';
import { attentionInputs, built, shapeList, tensorList } from './inputs.js';
import type { KerasLayerArgs } from './layers-tf.js';
import { paddingOfOutput } from './masks.js';
import { type WeightRecipe, weightRecipe } from './weight-recipe.js';

/** Config of `TopKMultiHeadAttention`. */
export interface TopKMultiHeadAttentionArgs extends KerasLayerArgs, AttentionArgs {}

const where = 'TopKMultiHeadAttention';

const argNames: OwnNames<TopKMultiHeadAttentionArgs> = {
  numHeads: true,
  keyDim: true,
  valueDim: true,
  k: true,
  causal: true,
  dropout: true,
  seed: true,
  outputShape: true,
};

/**
 * Keras' multi-head attention in which every query keeps its k best keys.
 *
 * Inputs: query [B, Lq, Dq] alone (self-attention), [query, value], [query, value, key], or those three and an
 * attention mask. Output: [B, Lq, ...outputShape]. Weights in Keras' order and shapes: query, key and value kernels
 * [D, H, headDim] with biases [H, headDim], then attention_output's.
 */
export function multiHeadAttentionClass(tf: FullTf): LayerClass<TopKMultiHeadAttentionArgs> {
  return class TopKMultiHeadAttention extends tf.layers.Layer {
    static readonly className: string = where;

    readonly #settings: AttentionSettings;
    readonly #recipe: WeightRecipe;
    readonly #seeds: DropoutSeeds;
    #weights: AttentionWeights | undefined;

    constructor(args: TopKMultiHeadAttentionArgs) {
      super(args);
      requireNames<TopKMultiHeadAttentionArgs>(where, args, argNames);
      this.#settings = attentionSettings(where, args);
      this.#recipe = weightRecipe(tf, where, args);
      this.#seeds = new DropoutSeeds(this.#settings.seed);
      this.supportsMasking = true;
    }

    override build(inputShape: Shape | Shape[]): void {
      this.#weights = addAttentionWeights(
        (name, shape, { initializer, regularizer, constraint }) =>
          this.addWeight(name, shape, 'float32', initializer, regularizer, true, constraint),
        where,
        '',
        this.#recipe,
        this.#settings,
        shapeList(inputShape),
      );
      this.built = true;
    }

    override call(inputs: TfTensor | TfTensor[], call: CallArgs): TfTensor {
      const weights = built(where, this.#weights);
      return tf.tidy(() => {
        this.invokeCallHook(inputs, call);
        const [query, value, key, attentionMask] = attentionInputs(where, tensorList(inputs));
        const tensors = { query, value, key, ...(attentionMask && { attentionMask }) };
        return attend(tf, where, this.#settings, weights, tensors, call, this.#seeds);
      });
    }

    override computeOutputShape(inputShape: Shape | Shape[]): Shape {
      return attentionOutputShape(where, this.#settings, shapeList(inputShape));
    }

    override computeMask(inputs: TfTensor | TfTensor[], mask?: TfTensor | TfTensor[]): TfTensor | TfTensor[] {
      return paddingOfOutput(inputs, mask) ?? super.computeMask(inputs, mask);
    }

    override getConfig(): serialization.ConfigDict {
      return { ...super.getConfig(), ...attentionConfig(this.#settings), ...this.#recipe.config };
    }
  };
}
