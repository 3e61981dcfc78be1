import type { serialization } from '@tensorflow/tfjs-core';
import type { TfTensor } from '../tf.js';
import { type OwnNames, requireNames } from './config.js';
import {
  addFeedForwardWeights,
  type FeedForwardArgs,
  type FeedForwardParts,
  type FeedForwardSettings,
  feedForward,
  feedForwardConfig,
  feedForwardSettings,
} from './feed-forward-part.js';
import type { CallArgs, FullTf, LayerClass, Shape } from './full-tf.js';
import { built, lastDim, shapeList, single, tensorList } from './inputs.js';
import type { KerasLayerArgs } from './layers-tf.js';
import { paddingOfOutput } from './masks.js';
import { type WeightRecipe, weightRecipe } from './weight-recipe.js';

/** Config of `TopKFeedForward`. */
export interface TopKFeedForwardArgs extends KerasLayerArgs, FeedForwardArgs {}

const where = 'TopKFeedForward';
const names = { intermediate: 'intermediate', gate: 'gate', output: 'output' };

const argNames: OwnNames<TopKFeedForwardArgs> = {
  hiddenUnits: true,
  units: true,
  k: true,
  activation: true,
  select: true,
  gated: true,
};

/**
 * Two dense layers with an activation between them, in which every token keeps its k best hidden units.
 *
 * Input [B, ..., D], output [B, ..., units]. Weights: intermediate kernel [D, hiddenUnits] and bias, with `gated` a
 * gate kernel [D, hiddenUnits], output kernel [hiddenUnits, units] and bias: those of `tf.layers.dense`, in its order.
 */
export function feedForwardClass(tf: FullTf): LayerClass<TopKFeedForwardArgs> {
  return class TopKFeedForward extends tf.layers.Layer {
    static readonly className: string = where;

    readonly #settings: FeedForwardSettings;
    readonly #recipe: WeightRecipe;
    #parts: FeedForwardParts | undefined;

    constructor(args: TopKFeedForwardArgs) {
      super(args);
      requireNames<TopKFeedForwardArgs>(where, args, argNames);
      this.#settings = feedForwardSettings(where, args, 'k');
      this.#recipe = weightRecipe(tf, where, args);
      this.supportsMasking = true;
    }

    override build(inputShape: Shape | Shape[]): void {
      const dim = lastDim(where, 'the input', single(where, shapeList(inputShape)), 'any');
      this.#parts = addFeedForwardWeights(
        (name, shape, { initializer, regularizer, constraint }) =>
          this.addWeight(name, shape, 'float32', initializer, regularizer, true, constraint),
        names,
        this.#recipe,
        this.#settings,
        dim,
      );
      this.built = true;
    }

    override call(inputs: TfTensor | TfTensor[], call: CallArgs): TfTensor {
      const parts = built(where, this.#parts);
      return tf.tidy(() => {
        this.invokeCallHook(inputs, call);
        return feedForward(tf, where, this.#settings, parts, single(where, tensorList(inputs)));
      });
    }

    override computeOutputShape(inputShape: Shape | Shape[]): Shape {
      const shape = single(where, shapeList(inputShape));
      return [...shape.slice(0, -1), this.#settings.units ?? lastDim(where, 'the input', shape, 'any')];
    }

    override computeMask(inputs: TfTensor | TfTensor[], mask?: TfTensor | TfTensor[]): TfTensor | TfTensor[] {
      return paddingOfOutput(inputs, mask) ?? super.computeMask(inputs, mask);
    }

    override getConfig(): serialization.ConfigDict {
      return { ...super.getConfig(), ...feedForwardConfig(this.#settings), ...this.#recipe.config };
    }
  };
}
