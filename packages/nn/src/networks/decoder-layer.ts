import { readOptions, type Tensor } from '@topk-attention/core';
import { within } from '../context.js';
import { residual } from '../layers/residual.js';
import { type AttentionInputs, attentionLayer } from './attention-layer.js';
import { requireRate } from './dropout-layer.js';
import {
  addSublayer,
  feedForwardOf,
  selfAttentionOf,
  type TransformerLayerOptions,
  transformerLayerKinds,
} from './encoder-layer.js';
import { defineLayer, type Layer } from './layer.js';
import { normLayer } from './norm-layer.js';

/** Of the self-attention, and `memoryLengths` i32 [B]: tokens of the memory that are there. */
export interface DecoderInputs extends Omit<AttentionInputs, 'source'> {
  readonly memoryLengths?: Tensor;
}

/**
 * Causal self-attention, attention to the memory of an encoder, and a feed-forward layer: x [B, L, width] and memory
 * [B, Lm, width] -> [B, L, width]. Parameters as in PyTorch's TransformerDecoderLayer: `self_attn.*`, `multihead_attn.*`,
 * `linear1.*`, `linear2.*`, `norm1.*`, `norm2.*`, `norm3.*`, but with separate projections. Both attentions have the same
 * settings; the one to the memory is neither causal nor rotary.
 *
 * @throws TopKError as `attentionLayer` and `feedForwardLayer`.
 *
 * @example
 * const layer = decoderLayer({ width: 8, heads: 2, hidden: 16 });
 */
export function decoderLayer(
  options: TransformerLayerOptions,
): Layer<readonly [x: Tensor, memory: Tensor, inputs?: DecoderInputs]> {
  const given = readOptions('decoderLayer', options, transformerLayerKinds);
  const { width, heads, attention = {}, normFirst = false, dropout: rate = 0.1 } = given;
  requireRate('decoderLayer', 'dropout', rate);
  const { rotary: _, causal: __, ...shared } = attention;
  const takesDropout = attention.mechanism?.takes.includes('dropout') ?? true;
  const self_attn = selfAttentionOf({ ...given, attention: { ...attention, causal: true } }, rate);
  const multihead_attn = attentionLayer({ width, heads, dropout: takesDropout ? rate : 0, ...shared });
  const feedForward = feedForwardOf(given, rate);
  const [norm1, norm2, norm3] = [1, 2, 3].map(() => normLayer(width, given.norm)) as [Layer, Layer, Layer];
  const parts = { self_attn, multihead_attn, '': feedForward, norm1, norm2, norm3 };
  return defineLayer(parts, (context, x: Tensor, memory: Tensor, inputs: DecoderInputs = {}) => {
    const { memoryLengths, ...own } = inputs;
    const attend = (from: Tensor): Tensor => self_attn.apply(within(context, 'self_attn'), from, own);
    const look = (from: Tensor): Tensor =>
      multihead_attn.apply(within(context, 'multihead_attn'), from, {
        source: memory,
        ...(memoryLengths && { keyLengths: memoryLengths }),
      });
    const transform = (from: Tensor): Tensor => feedForward.apply(context, from);
    const sum = { normFirst, rate };
    const attended = addSublayer(context, sum, { name: 'norm1', layer: norm1 }, x, 'dropout1', attend);
    const looked = addSublayer(context, sum, { name: 'norm2', layer: norm2 }, attended, 'dropout2', look);
    const made = addSublayer(context, sum, { name: 'norm3', layer: norm3 }, looked, 'dropout3', transform);
    return residual(context, context.path, made);
  });
}
