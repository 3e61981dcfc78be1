import {
  aBoolean,
  add,
  aNumber,
  type OptionKinds,
  optionsWithin,
  readOptions,
  required,
  type Tensor,
} from '@topk-attention/core';
import { type Context, within } from '../context.js';
import { dropout } from '../layers/dropout.js';
import { residual } from '../layers/residual.js';
import {
  type AttentionInputs,
  type AttentionLayerSettings,
  attentionLayer,
  attentionSettingKinds,
} from './attention-layer.js';
import { requireRate } from './dropout-layer.js';
import {
  type FeedForwardLayerSettings,
  feedForwardLayer,
  feedForwardSettingKinds,
} from './feed-forward-layer.js';
import { defineLayer, type Layer } from './layer.js';
import { type NormLayerOptions, normKinds, normLayer } from './norm-layer.js';

/** Settings of attention between sequences of one width. */
export type SelfAttentionSettings = Omit<AttentionLayerSettings, 'sourceWidth'>;

/** What encoder and decoder layers have in common. */
export interface TransformerLayerOptions {
  readonly width: number;
  readonly heads: number;
  /** Hidden units of the feed-forward layer. */
  readonly hidden: number;
  /** Norms before each sublayer instead of behind its sum. Default false, as in PyTorch. */
  readonly normFirst?: boolean;
  /** Default: layer norm. */
  readonly norm?: NormLayerOptions;
  /**
   * Rate of dropout, where PyTorch has it: of each sublayer's output, and of attention weights and hidden units unless their
   * own settings say otherwise, or the mechanism or top-k has none. Default 0.1.
   */
  readonly dropout?: number;
  readonly attention?: SelfAttentionSettings;
  readonly feedForward?: FeedForwardLayerSettings;
}

const { sourceWidth: _, ...selfAttentionKinds } = attentionSettingKinds;

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
export function encoderLayer(
  options: TransformerLayerOptions,
): Layer<readonly [x: Tensor, inputs?: Omit<AttentionInputs, 'source'>]> {
  const given = readOptions('encoderLayer', options, transformerLayerKinds);
  const { width, normFirst = false, dropout: rate = 0.1 } = given;
  requireRate('encoderLayer', 'dropout', rate);
  const self_attn = selfAttentionOf(given, rate);
  const feedForward = feedForwardOf(given, rate);
  const [norm1, norm2] = [normLayer(width, given.norm), normLayer(width, given.norm)];
  return defineLayer({ self_attn, '': feedForward, norm1, norm2 }, (context, x, inputs = {}) => {
    const attend = (from: Tensor): Tensor => self_attn.apply(within(context, 'self_attn'), from, inputs);
    const transform = (from: Tensor): Tensor => feedForward.apply(context, from);
    const sum = { normFirst, rate };
    const attended = addSublayer(context, sum, { name: 'norm1', layer: norm1 }, x, 'dropout1', attend);
    const made = addSublayer(context, sum, { name: 'norm2', layer: norm2 }, attended, 'dropout2', transform);
    return residual(context, context.path, made);
  });
}

/** The attention of a layer to its own input. */
export function selfAttentionOf(
  { width, heads, attention = {} }: TransformerLayerOptions,
  rate: number,
): ReturnType<typeof attentionLayer> {
  const takesDropout = attention.mechanism?.takes.includes('dropout') ?? true;
  return attentionLayer({ width, heads, dropout: takesDropout ? rate : 0, ...attention });
}

export function feedForwardOf(
  { width, hidden, feedForward = {} }: TransformerLayerOptions,
  rate: number,
): Layer {
  return feedForwardLayer({ width, hidden, dropout: feedForward.k === undefined ? rate : 0, ...feedForward });
}

/** x plus what a sublayer makes of it, with a norm before the sublayer or behind the sum. */
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
