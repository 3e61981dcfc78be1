import { TopKError } from '@topk-attention/core';
import type { TopKTransformerBlockArgs } from './block-settings.js';
import { feedForwardClass, type TopKFeedForwardArgs } from './feed-forward.js';
import type { FullTf, LayerClass } from './full-tf.js';
import type { LayersTf, TopKLayerClass } from './layers-tf.js';
import { multiHeadAttentionClass, type TopKMultiHeadAttentionArgs } from './multi-head-attention.js';
import { transformerBlockClass } from './transformer-block.js';

/** Layers for models of tfjs-layers, as classes on the caller's tf. */
export interface TopKLayers<T extends LayersTf> {
  /**
   * Multi-head attention in which every query keeps its k best keys. Inputs: query [B, Lq, Dq], [query, value],
   * [query, value, key], or those three and an attention mask. Output: [B, Lq, ...outputShape].
   */
  readonly TopKMultiHeadAttention: TopKLayerClass<T, TopKMultiHeadAttentionArgs>;
  /** dense, activation, dense, in which every token keeps its k best hidden units: [B, ..., D] to [B, ..., units]. */
  readonly TopKFeedForward: TopKLayerClass<T, TopKFeedForwardArgs>;
  /** Self-attention and feed-forward with residual sums, layer normalisation and dropout: [B, L, D] to [B, L, D]. */
  readonly TopKTransformerBlock: TopKLayerClass<T, TopKTransformerBlockArgs>;
}

interface MadeLayers {
  readonly TopKMultiHeadAttention: LayerClass<TopKMultiHeadAttentionArgs>;
  readonly TopKFeedForward: LayerClass<TopKFeedForwardArgs>;
  readonly TopKTransformerBlock: LayerClass<TopKTransformerBlockArgs>;
}

/** By tf's Layer class, which is the same in every object that gathers tf's functions. */
const known = new WeakMap<FullTf['layers']['Layer'], MadeLayers>();

/**
 * Keras-style layers on the caller's own tf, registered for saving and loading. Two calls with one tf give the same
 * classes; call it before `tf.loadLayersModel` reads a model that holds such layers.
 *
 * Calls take `training` (dropout), `mask`, `attentionMask` ([B, Lk], [B, Lq, Lk] or [B, H, Lq, Lk], true = keep),
 * `useCausalMask` and `keyLengths` (int32 [B]), as in `layer.apply(x, { attentionMask })`. In a model, tfjs gives a
 * layer `training` and the padding mask of its first input; other masks go in as an input.
 *
 * @throws TopKError MISSING_PEER when tf has no tfjs-layers; from the classes INVALID_OPTION, INVALID_K for a bad
 * config and SHAPE_MISMATCH, RANK_MISMATCH, DTYPE_MISMATCH for bad inputs.
 *
 * @example
 * const { TopKMultiHeadAttention } = topKLayers(tf);
 * const x = tf.input({ shape: [null, 64] });
 * const y = new TopKMultiHeadAttention({ numHeads: 4, keyDim: 16, k: 8 }).apply(x);
 */
export function topKLayers<T extends LayersTf>(tf: T): TopKLayers<T>;
export function topKLayers(tf: FullTf): MadeLayers {
  requireLayers(tf);
  const { Layer } = tf.layers;
  const before = known.get(Layer);
  if (before !== undefined) return before;
  const made: MadeLayers = {
    TopKMultiHeadAttention: multiHeadAttentionClass(tf),
    TopKFeedForward: feedForwardClass(tf),
    TopKTransformerBlock: transformerBlockClass(tf),
  };
  for (const one of Object.values(made)) tf.serialization.registerClass(one);
  known.set(Layer, made);
  return made;
}

function requireLayers(tf: Partial<FullTf>): void {
  if (typeof tf.layers?.Layer === 'function' && typeof tf.layers.dense === 'function') return;
  throw new TopKError('MISSING_PEER', 'topKLayers: this tf has no layers', {
    expected: '@tensorflow/tfjs-layers ^4.22.0, on its own or as part of @tensorflow/tfjs or tfjs-node',
    got: 'a tf without tf.layers',
    fix: 'Pass { ...tfCore, ...tfLayers }, or all of @tensorflow/tfjs',
  });
}
