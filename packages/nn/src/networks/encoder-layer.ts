import {
  aBoolean,
  add,
  aNumber,
  type OptionKinds,
  optionsWithin,
  readOptions,
  required,
  scope,
  type Tensor,
} from '@topk-attention/core';
import { type Context, within } from '../context.js';
import type { Declared } from '../declared/declaration.js';
import { dropout } from '../layers/dropout.js';
import { beforeFeedForward, residual } from '../layers/residual.js';
import type { MechanismState, MechanismStep } from '../mechanisms/mechanism.js';
import { attentionLayer, type MultiHeadAttention } from './attention-layer.js';
import {
  type AttentionInputs,
  type AttentionLayerSettings,
  attentionSettingKinds,
} from './attention-settings.js';
import { requireRate } from './dropout-layer.js';
import {
  type FeedForwardLayerSettings,
  feedForwardLayer,
  feedForwardSettingKinds,
} from './feed-forward-layer.js';
import { defineLayer, type Layer } from './layer.js';
import { type NormLayerOptions, normKinds, normLayer } from './norm-layer.js';

/** Settings of attention whose sequences all have the same width. */
export type SelfAttentionSettings = Omit<AttentionLayerSettings, 'sourceWidth'>;

/** What encoder and decoder layers have in common. */
export interface TransformerLayerOptions {
  readonly width: number;
  readonly heads: number;
  /** Hidden units of the feed-forward layer. */
  readonly hidden: number;
  /** Norm before each sublayer instead of after its residual sum. Default false, as in PyTorch. */
  readonly normFirst?: boolean;
  /** Default: layer norm. */
  readonly norm?: NormLayerOptions;
  /**
   * Dropout rate, where PyTorch applies it: to each sublayer's output, and to attention weights and hidden units unless
   * their own settings differ or the mechanism or top-k does not support it. Default 0.1.
   */
  readonly dropout?: number;
  readonly attention?: SelfAttentionSettings;
  readonly feedForward?: FeedForwardLayerSettings;
}

const { sourceWidth: _, ...selfAttentionKinds } = attentionSettingKinds;

export type EncoderInputs = Omit<AttentionInputs, 'source'>;

export interface EncoderLayer extends Layer<readonly [x: Tensor, inputs?: EncoderInputs]> {
  /** The next tokens x [B, n, width] of causal decoding, as in `MultiHeadAttention.step`. */
  step(context: Context, x: Tensor, state?: MechanismState): MechanismStep;
}

export const transformerLayerKinds: OptionKinds<TransformerLayerOptions> = {
  width: required(aNumber),
  heads: required(aNumber),
  hidden: required(aNumber),
  normFirst: aBoolean,
  norm: optionsWithin(normKinds),
  dropout: aNumber,
  attention: optionsWithin<SelfAttentionSettings>(selfAttentionKinds),
  feedForward: optionsWithin(feedForwardSettingKinds),
};

/**
 * Self-attention and a feed-forward layer, each with a residual connection and a norm: x [B, L, width] -> [B, L, width].
 * Parameters as in PyTorch's TransformerEncoderLayer: `self_attn.*`, `linear1.*`, `linear2.*`, `norm1.*`, `norm2.*`, but
 * with separate projections: see `splitInProjections`.
 *
 * @throws TopKError as `attentionLayer` and `feedForwardLayer`.
 *
 * @example
 * const layer = encoderLayer({ width: 8, heads: 2, hidden: 16, attention: { mechanism: topK({ k: 4 }) } });
 */
export function encoderLayer(options: TransformerLayerOptions): EncoderLayer {
  const given = readOptions('encoderLayer', options, transformerLayerKinds);
  const { width, normFirst = false, dropout: rate = 0.1 } = given;
  requireRate('encoderLayer', 'dropout', rate);
  const self_attn = attentionOf(given, rate);
  const feedForward = feedForwardOf(given, rate);
  const [norm1, norm2] = [normLayer(width, given.norm), normLayer(width, given.norm)];
  const sum = { normFirst, rate };

  const around = (context: Context, x: Tensor, attend: (context: Context, x: Tensor) => Tensor): Tensor => {
    const look = (from: Tensor): Tensor => attend(within(context, 'self_attn'), from);
    const transform = (from: Tensor): Tensor => feedForward.apply(context, from);
    const attended = addSublayer(context, sum, { name: 'norm1', layer: norm1 }, x, 'dropout1', look);
    beforeFeedForward(context, context.path, attended);
    const made = addSublayer(context, sum, { name: 'norm2', layer: norm2 }, attended, 'dropout2', transform);
    return residual(context, context.path, made);
  };

  return defineEncoderLayer({ self_attn, '': feedForward, norm1, norm2 }, around);
}

/**
 * An encoder layer of one's own, which also continues from a state.
 *
 * @param parts as of `defineLayer`, the attention among them
 * @param around what stands before and after the attention; calls `attend` once, with `within(context, 'self_attn')`
 * @throws TopKError INVALID_OPTION if two parts declare the same name.
 *
 * @example
 * import { add } from '@topk-attention/core';
 *
 * const parts = { self_attn: attentionLayer({ width: 8, heads: 2, causal: true }), norm: normLayer(8) };
 * const layer = defineEncoderLayer(parts, (context, x, attend) =>
 *   add(x, attend(within(context, 'self_attn'), parts.norm.apply(within(context, 'norm'), x))),
 * );
 */
export function defineEncoderLayer(
  parts: { readonly [name: string]: Declared; readonly self_attn: MultiHeadAttention },
  around: (context: Context, x: Tensor, attend: (context: Context, from: Tensor) => Tensor) => Tensor,
): EncoderLayer {
  const { self_attn } = parts;
  const layer = defineLayer(parts, (context, x: Tensor, inputs?: EncoderInputs) =>
    around(context, x, (inner, from) => self_attn.apply(inner, from, inputs)),
  );
  return {
    ...layer,
    step: (context, x, state) =>
      scope(() => {
        let next: MechanismState | undefined;
        const output = around(context, x, (inner, from) => {
          const step = self_attn.step(inner, from, state);
          next = step.state;
          return step.output;
        });
        // `around` attends once.
        return { output, state: next as MechanismState };
      }),
  };
}

export function attentionOf(
  { width, heads, attention = {} }: TransformerLayerOptions,
  rate: number,
): MultiHeadAttention {
  const takesDropout = attention.mechanism?.takes.includes('dropout') ?? true;
  return attentionLayer({ width, heads, dropout: takesDropout ? rate : 0, ...attention });
}

export function feedForwardOf(
  { width, hidden, feedForward = {} }: TransformerLayerOptions,
  rate: number,
): Layer {
  return feedForwardLayer({ width, hidden, dropout: feedForward.k === undefined ? rate : 0, ...feedForward });
}

/** x plus a sublayer's output for it, with a norm before the sublayer or after the sum. */
export function addSublayer(
  context: Context,
  { normFirst, rate }: { readonly normFirst: boolean; readonly rate: number },
  { name, layer }: { readonly name: string; readonly layer: Layer },
  x: Tensor,
  dropoutName: string,
  sublayer: (x: Tensor) => Tensor,
): Tensor {
  const norm = (of: Tensor): Tensor => layer.apply(within(context, name), of);
  const made = sublayer(normFirst ? norm(x) : x);
  const sum = add(x, dropout(context, within(context, dropoutName).path, made, rate));
  return normFirst ? sum : norm(sum);
}
