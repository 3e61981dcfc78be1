import {
  aBoolean,
  add,
  aNumber,
  mul,
  type OptionKinds,
  optionsWithin,
  readOptions,
  required,
  type Tensor,
  TopKError,
} from '@topk-attention/core';
import {
  type AttentionLayerSettings,
  attentionLayer,
  type Context,
  type Declarations,
  defineEncoderLayer,
  dropout,
  type EncoderLayer,
  feedForwardLayer,
  initializers,
  normLayer,
  parameterOf,
  within,
} from '@topk-attention/nn';
import { requireNumber } from './inputs.js';
import { type SigmoidOptions, sigmoidAttention, sigmoidKinds } from './sigmoid.js';

export interface SigmoidBlockOptions {
  readonly width: number;
  readonly heads: number;
  /** Hidden units of the feed-forward layer, which has GELU. */
  readonly hidden: number;
  /** Of the attention. Default: norms of queries and keys, and -log of the number of keys, for layers that are not causal. */
  readonly sigmoid?: SigmoidOptions;
  /** First values of the learned factors of both sublayers' outputs. Default 1e-4. */
  readonly layerScale?: number;
  /** Whether the attention's output passes a norm before it is added: hybrid norm. Default false. */
  readonly hybridNorm?: boolean;
  /** Default false. */
  readonly causal?: boolean;
  /** Rotary positions of queries and keys, which exclude `qkNorm`. Default: none. */
  readonly rotary?: AttentionLayerSettings['rotary'];
  /** Default 0. */
  readonly dropout?: number;
}

const kinds: OptionKinds<SigmoidBlockOptions> = {
  width: required(aNumber),
  heads: required(aNumber),
  hidden: required(aNumber),
  sigmoid: optionsWithin(sigmoidKinds),
  layerScale: aNumber,
  hybridNorm: aBoolean,
  causal: aBoolean,
  rotary: optionsWithin({ base: aNumber }),
  dropout: aNumber,
};

/**
 * An encoder layer by the recipe that trains sigmoid attention stably: norms before the sublayers, LayerScale, norms of
 * queries and keys, and on demand a hybrid norm: x + s1 * norm(attention(norm1(x))), then x + s2 * feedForward(norm2(x)).
 * Parameters as in `encoderLayer`, and `scale1`, `scale2` [width], `hybrid_norm.*`.
 *
 * @throws TopKError INVALID_OPTION, UNSUPPORTED for a causal block without a length or bias.
 *
 * @example
 * const block = sigmoidBlock({ width: 64, heads: 4, hidden: 128, causal: true, sigmoid: { length: 512, qkNorm: true } });
 */
export function sigmoidBlock(options: SigmoidBlockOptions): EncoderLayer {
  const given = readOptions('sigmoidBlock', options, kinds);
  const { width, heads, hidden, layerScale = 1e-4, hybridNorm = false, causal = false, rotary } = given;
  const { dropout: rate = 0 } = given;
  const { sigmoid = { qkNorm: rotary === undefined } } = given;
  requireNumber('sigmoidBlock', 'layerScale', layerScale, 'positive');
  requireNumber('sigmoidBlock', 'dropout', rate, 0);
  if (rotary !== undefined && sigmoid.qkNorm === true) {
    throw new TopKError('INVALID_OPTION', 'sigmoidBlock: norms of queries and keys after rotary positions', {
      expected: 'rotary or qkNorm',
      got: 'both',
    });
  }
  const self_attn = attentionLayer({
    ...{ width, heads, causal, dropout: rate, mechanism: sigmoidAttention(sigmoid) },
    ...(rotary && { rotary }),
  });
  const feedForward = feedForwardLayer({ width, hidden, activation: 'gelu', dropout: rate });
  const [norm1, norm2] = [normLayer(width), normLayer(width)];
  const hybrid = hybridNorm ? normLayer(width) : undefined;
  const scale = { shape: [width], initializer: initializers.constant(layerScale) };
  const own: Declarations = { scale1: scale, scale2: scale, ...feedForward.parameters };
  const around = (
    context: Context,
    x: Tensor,
    attend: (context: Context, from: Tensor) => Tensor,
  ): Tensor => {
    const sum = (to: Tensor, name: 'scale1' | 'scale2', made: Tensor): Tensor => {
      const scaled = mul(made, parameterOf(context, name));
      return add(to, dropout(context, within(context, name).path, scaled, rate));
    };
    const attended = attend(within(context, 'self_attn'), norm1.apply(within(context, 'norm1'), x));
    const normed = hybrid === undefined ? attended : hybrid.apply(within(context, 'hybrid_norm'), attended);
    const between = sum(x, 'scale1', normed);
    return sum(between, 'scale2', feedForward.apply(context, norm2.apply(within(context, 'norm2'), between)));
  };
  const parts = { self_attn, norm1, norm2, ...(hybrid && { hybrid_norm: hybrid }), '': { parameters: own } };
  return defineEncoderLayer(parts, around);
}
