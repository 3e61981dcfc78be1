import type { serialization } from '@tensorflow/tfjs-core';
import { type Activation, type FeedForwardSelect, TopKError } from '@topk-attention/core';
import { type AttentionSettings, attentionConfig, attentionSettings } from './attention-part.js';
import { count, flag, given, type Unchecked } from './config.js';
import { type FeedForwardSettings, feedForwardConfig, feedForwardSettings } from './feed-forward-part.js';
import type { KerasLayerArgs, KerasWeightArgs } from './layers-tf.js';

/** Config of `TopKTransformerBlock`. */
export interface TopKTransformerBlockArgs extends KerasLayerArgs, KerasWeightArgs {
  readonly numHeads: number;
  /** Size of a head's queries and keys. Default: the input's last dim / numHeads. */
  readonly keyDim?: number;
  /** Size of a head's values. Default: keyDim. */
  readonly valueDim?: number;
  /** Keys kept per query; all of them if there are fewer. */
  readonly k: number;
  /** A query sees no later key. Default false. */
  readonly causal?: boolean;
  readonly hiddenUnits: number;
  /** Hidden units kept per token. Default: all. */
  readonly feedForwardK?: number;
  /** Default 'relu'. */
  readonly activation?: Activation;
  /** The value that ranks the hidden units. Default 'preactivation'. */
  readonly select?: FeedForwardSelect;
  /** A gated feed-forward, as in T5 v1.1. Default false. */
  readonly gated?: boolean;
  /** Share of the attention weights and of both halves' outputs that is dropped in training. Default 0. */
  readonly dropout?: number;
  /** Makes dropout repeatable. Default: a random one. */
  readonly seed?: number;
  /** Normalises the input of each half instead of the sum after it. Default false, as in Vaswani et al. 2017. */
  readonly normalizeFirst?: boolean;
  /** Default 1e-5. */
  readonly layerNormEpsilon?: number;
}

export interface BlockSettings {
  /** Undefined until the input's last dim is known: see `attentionOfBlock`. */
  readonly keyDim: number | undefined;
  readonly valueDim: number | undefined;
  /** keyDim and valueDim are final only after `attentionOfBlock`. */
  readonly attention: AttentionSettings;
  readonly feedForward: FeedForwardSettings;
  readonly normalizeFirst: boolean;
  readonly epsilon: number;
}

export function blockSettings(where: string, args: Unchecked<TopKTransformerBlockArgs>): BlockSettings {
  const [keyDim, valueDim] = [given(args.keyDim), given(args.valueDim)];
  const epsilon = given(args.layerNormEpsilon) ?? 1e-5;
  if (!(typeof epsilon === 'number' && epsilon > 0)) {
    throw new TopKError('INVALID_OPTION', `${where}: bad layerNormEpsilon`, {
      expected: 'a number above 0',
      got: String(epsilon),
      fix: 'Leave it out for 1e-5',
    });
  }
  const hiddenUnits = count(where, 'hiddenUnits', args.hiddenUnits);
  const feedForwardArgs = {
    ...args,
    hiddenUnits,
    k: given(args.feedForwardK) ?? hiddenUnits,
    units: undefined,
  };
  return {
    keyDim,
    valueDim,
    attention: attentionSettings(where, { ...args, keyDim: keyDim ?? 1, outputShape: undefined }),
    feedForward: feedForwardSettings(where, feedForwardArgs, 'feedForwardK'),
    normalizeFirst: flag(where, 'normalizeFirst', args.normalizeFirst, false),
    epsilon,
  };
}

/** The attention of a block on inputs of this last dim. */
export function attentionOfBlock(where: string, settings: BlockSettings, dim: number): AttentionSettings {
  const { attention, valueDim } = settings;
  const keyDim = settings.keyDim ?? dim / attention.numHeads;
  if (Number.isInteger(keyDim)) return { ...attention, keyDim, valueDim: valueDim ?? keyDim };
  throw new TopKError('SHAPE_MISMATCH', `${where}: the heads do not divide the input's last dim`, {
    expected: `a multiple of ${attention.numHeads}`,
    got: String(dim),
    fix: 'Give the config a keyDim',
  });
}

/** The settings as a model's JSON holds them. */
export function blockConfig(settings: BlockSettings): serialization.ConfigDict {
  const { keyDim, valueDim, attention, feedForward, normalizeFirst, epsilon } = settings;
  const { outputShape: _outputShape, ...attentionWords } = attentionConfig(attention);
  const { units: _units, k: feedForwardK, ...feedForwardWords } = feedForwardConfig(feedForward);
  return {
    ...attentionWords,
    ...feedForwardWords,
    feedForwardK: feedForwardK ?? null,
    keyDim: keyDim ?? null,
    valueDim: valueDim ?? null,
    normalizeFirst,
    layerNormEpsilon: epsilon,
  };
}
