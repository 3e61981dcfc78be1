import { readOptions, scope, type Tensor } from '@topk-attention/core';
import { type Context, within } from '../context.js';
import type { KeysAndValues } from '../layers/attention.js';
import { beforeFeedForward, residual } from '../layers/residual.js';
import type { MechanismState, MechanismStep } from '../mechanisms/mechanism.js';
import type { AttentionInputs } from './attention-settings.js';
import { requireRate } from './dropout-layer.js';
import {
  addSublayer,
  attentionOf,
  feedForwardOf,
  type TransformerLayerOptions,
  transformerLayerKinds,
} from './encoder-layer.js';
import { defineLayer, type Layer } from './layer.js';
import { normLayer } from './norm-layer.js';

/** Inputs of the self-attention, and `memoryLengths` i32 [B]: lengths of the memories without padding. */
export interface DecoderInputs extends Omit<AttentionInputs, 'source'> {
  readonly memoryLengths?: Tensor;
}

export interface DecoderLayer extends Layer<readonly [x: Tensor, memory: Tensor, inputs?: DecoderInputs]> {
  /** Keys and values of the memory, which all steps attend to. */
  remember(context: Context, memory: Tensor): KeysAndValues;
  /** The next tokens x [B, n, width] of decoding, as in `MultiHeadAttention.step`. */
  step(
    context: Context,
    x: Tensor,
    memory: KeysAndValues,
    state?: MechanismState,
    inputs?: Pick<DecoderInputs, 'memoryLengths'>,
  ): MechanismStep;
}

/**
 * Causal self-attention, attention to an encoder's memory, and a feed-forward layer: x [B, L, width] and memory
 * [B, Lm, width] -> [B, L, width]. Parameters as in PyTorch's TransformerDecoderLayer: `self_attn.*`, `multihead_attn.*`,
 * `linear1.*`, `linear2.*`, `norm1.*`, `norm2.*`, `norm3.*`, but with separate projections. Both attentions have the same
 * settings; the one to the memory is neither causal nor rotary.
 *
 * @throws TopKError as `attentionLayer` and `feedForwardLayer`.
 *
 * @example
 * const layer = decoderLayer({ width: 8, heads: 2, hidden: 16 });
 */
export function decoderLayer(options: TransformerLayerOptions): DecoderLayer {
  const given = readOptions('decoderLayer', options, transformerLayerKinds);
  const { width, attention = {}, normFirst = false, dropout: rate = 0.1 } = given;
  requireRate('decoderLayer', 'dropout', rate);
  const { rotary: _, causal: __, ...shared } = attention;
  const self_attn = attentionOf({ ...given, attention: { ...attention, causal: true } }, rate);
  const multihead_attn = attentionOf({ ...given, attention: shared }, rate);
  const feedForward = feedForwardOf(given, rate);
  const [norm1, norm2, norm3] = [1, 2, 3].map(() => normLayer(width, given.norm)) as [Layer, Layer, Layer];
  const sum = { normFirst, rate };

  const around = (
    context: Context,
    x: Tensor,
    source: Tensor | KeysAndValues,
    memoryLengths: Tensor | undefined,
    attend: (context: Context, x: Tensor) => Tensor,
  ): Tensor => {
    const own = (from: Tensor): Tensor => attend(within(context, 'self_attn'), from);
    const look = (from: Tensor): Tensor =>
      multihead_attn.apply(within(context, 'multihead_attn'), from, {
        source,
        ...(memoryLengths && { keyLengths: memoryLengths }),
      });
    const transform = (from: Tensor): Tensor => feedForward.apply(context, from);
    const attended = addSublayer(context, sum, { name: 'norm1', layer: norm1 }, x, 'dropout1', own);
    const looked = addSublayer(context, sum, { name: 'norm2', layer: norm2 }, attended, 'dropout2', look);
    beforeFeedForward(context, context.path, looked);
    const made = addSublayer(context, sum, { name: 'norm3', layer: norm3 }, looked, 'dropout3', transform);
    return residual(context, context.path, made);
  };

  const parts = { self_attn, multihead_attn, '': feedForward, norm1, norm2, norm3 };
  const layer = defineLayer(parts, (context, x: Tensor, memory: Tensor, inputs: DecoderInputs = {}) => {
    const { memoryLengths, ...own } = inputs;
    return around(context, x, memory, memoryLengths, (inner, from) => self_attn.apply(inner, from, own));
  });
  return {
    ...layer,
    remember: (context, memory) => multihead_attn.keysAndValues(within(context, 'multihead_attn'), memory),
    step: (context, x, memory, state, inputs) =>
      scope(() => {
        let next: MechanismState | undefined;
        const output = around(context, x, memory, inputs?.memoryLengths, (inner, from) => {
          const step = self_attn.step(inner, from, state);
          next = step.state;
          return step.output;
        });
        // `around` runs self-attention once.
        return { output, state: next as MechanismState };
      }),
  };
}
