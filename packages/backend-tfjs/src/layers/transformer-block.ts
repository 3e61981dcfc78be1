import type { serialization } from '@tensorflow/tfjs-core';
import type { TfTensor } from '../tf.js';
import {
  type AttentionSettings,
  type AttentionWeights,
  addAttentionWeights,
  attend,
} from './attention-part.js';
import {
  attentionOfBlock,
  type BlockSettings,
  blockConfig,
  blockSettings,
  type TopKTransformerBlockArgs,
} from './block-settings.js';
import { type OwnNames, requireCallNames, requireNames } from './config.js';
import { DropoutSeeds } from './dropout-seeds.js';
import { emptyOutput } from './empty-output.js';
import { addFeedForwardWeights, type FeedForwardParts, feedForward } from './feed-forward-part.js';
import type { CallArgs, FullTf, LayerClass, Shape } from './full-tf.js';
import { blockInputs, built, lastDim, requireDim, shapeList, tensorList } from './inputs.js';
import { paddingOfOutput } from './masks.js';
import { addNormWeights, type NormParts, normalize, normWords } from './norm-part.js';
import { type AddWeight, type WeightRecipe, weightRecipe } from './weight-recipe.js';

interface BlockParts {
  readonly settings: AttentionSettings;
  readonly attention: AttentionWeights;
  readonly attentionNorm: NormParts;
  readonly feedForward: FeedForwardParts;
  readonly feedForwardNorm: NormParts;
}

const where = 'TopKTransformerBlock';
// The names of KerasNLP's encoder and decoder.
const names = {
  intermediate: 'feedforward_intermediate_dense',
  gate: 'feedforward_gate_dense',
  output: 'feedforward_output_dense',
};

const argNames: OwnNames<TopKTransformerBlockArgs> = {
  numHeads: true,
  keyDim: true,
  valueDim: true,
  k: true,
  causal: true,
  hiddenUnits: true,
  feedForwardK: true,
  activation: true,
  select: true,
  gated: true,
  dropout: true,
  seed: true,
  normalizeFirst: true,
  layerNormEpsilon: true,
};

/**
 * A Transformer's encoder layer, or with `causal` its decoder layer without cross-attention: attention and
 * feed-forward, each with dropout, residual sum and layer normalisation.
 *
 * Input: x [B, L, D], or [x, attentionMask]. Output: [B, L, D]. All weights belong to the layer itself and not to
 * sub-layers, so that it is saved, frozen and disposed of as any other layer.
 */
export function transformerBlockClass(tf: FullTf): LayerClass<TopKTransformerBlockArgs> {
  return class TopKTransformerBlock extends tf.layers.Layer {
    static readonly className: string = where;

    readonly #settings: BlockSettings;
    readonly #recipe: WeightRecipe;
    readonly #norms: WeightRecipe;
    readonly #seeds: DropoutSeeds;
    #parts: BlockParts | undefined;

    constructor(args: TopKTransformerBlockArgs) {
      super(args);
      requireNames<TopKTransformerBlockArgs>(where, args, argNames);
      this.#settings = blockSettings(where, args);
      this.#recipe = weightRecipe(tf, where, args);
      this.#norms = weightRecipe(tf, where, normWords);
      this.#seeds = new DropoutSeeds(this.#settings.attention.seed);
      this.supportsMasking = true;
    }

    override build(inputShape: Shape | Shape[]): void {
      const [shape] = blockInputs(where, shapeList(inputShape));
      const dim = lastDim(where, 'x', shape, 'sequence');
      const settings = attentionOfBlock(where, this.#settings, dim);
      const recipe = this.#recipe;
      const add: AddWeight = (name, weightShape, { initializer, regularizer, constraint }) =>
        this.addWeight(name, weightShape, 'float32', initializer, regularizer, true, constraint);
      this.#parts = {
        settings,
        attention: addAttentionWeights(add, where, 'self_attention/', recipe, settings, [shape]),
        attentionNorm: addNormWeights(add, 'self_attention_layer_norm', this.#norms, dim),
        feedForward: addFeedForwardWeights(add, names, recipe, this.#settings.feedForward, dim),
        feedForwardNorm: addNormWeights(add, 'feedforward_layer_norm', this.#norms, dim),
      };
      this.built = true;
    }

    override call(inputs: TfTensor | TfTensor[], call: CallArgs): TfTensor {
      const { settings, attention, attentionNorm, feedForwardNorm, ...parts } = built(where, this.#parts);
      return tf.tidy(() => {
        this.invokeCallHook(inputs, call);
        const [x, attentionMask] = blockInputs(where, tensorList(inputs));
        requireDim(where, 'x', x, attention.query.kernel.shape[0] as number, 'sequence');
        requireCallNames(where, call);
        if (x.shape[0] === 0) return emptyOutput(tf, x.shape, [x], this.weights);
        // The mask of the input itself: attention may get the normalised input, which carries no mask.
        const mask: unknown = Array.isArray(call.mask) ? call.mask[0] : (call.mask ?? x.kerasMask);
        const attended = this.#residual(x, attentionNorm, call, (one) => {
          const tensors = { query: one, value: one, key: one, ...(attentionMask && { attentionMask }) };
          return attend(tf, where, settings, attention, tensors, { ...call, mask }, this.#seeds);
        });
        return this.#residual(attended, feedForwardNorm, call, (one) =>
          feedForward(tf, where, this.#settings.feedForward, parts.feedForward, one),
        );
      });
    }

    /** x + dropout(part(x)), normalised before the part or after the sum. */
    #residual(x: TfTensor, norm: NormParts, call: CallArgs, part: (one: TfTensor) => TfTensor): TfTensor {
      const { normalizeFirst, epsilon, attention } = this.#settings;
      const added = part(normalizeFirst ? normalize(tf, x, norm, epsilon) : x);
      const drops = call.training === true && attention.dropout > 0;
      const sum = tf.add(
        x,
        drops ? tf.dropout(added, attention.dropout, undefined, this.#seeds.next()) : added,
      );
      return normalizeFirst ? sum : normalize(tf, sum, norm, epsilon);
    }

    override computeOutputShape(inputShape: Shape | Shape[]): Shape {
      const [shape] = blockInputs(where, shapeList(inputShape));
      lastDim(where, 'x', shape, 'sequence');
      return [...shape];
    }

    override computeMask(inputs: TfTensor | TfTensor[], mask?: TfTensor | TfTensor[]): TfTensor | TfTensor[] {
      return paddingOfOutput(inputs, mask) ?? super.computeMask(inputs, mask);
    }

    override getConfig(): serialization.ConfigDict {
      return { ...super.getConfig(), ...blockConfig(this.#settings), ...this.#recipe.config };
    }
  };
}
