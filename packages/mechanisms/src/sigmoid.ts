import {
  aBoolean,
  add,
  aNumber,
  cast,
  layerNorm,
  log,
  mul,
  neg,
  type OptionKinds,
  readOptions,
  scope,
  sigmoid,
  type Tensor,
  TopKError,
} from '@topk-attention/core';
import { initializers, type Mechanism, type MechanismCall, parameterOf } from '@topk-attention/nn';
import { keyCounts, requireNumber, requireWhole, shown } from './inputs.js';
import { stepWithKeys } from './kept-tokens.js';
import { pairAttention } from './pairs.js';
import { notSoftmax } from './refusals.js';

export interface SigmoidOptions {
  /**
   * Tokens of a text in training, n: the bias is -log n, always, as a model that was trained with it expects. Default: the
   * number of keys in each call, which no causal layer can use.
   */
  readonly length?: number;
  /** The bias itself, in place of -log n. */
  readonly bias?: number;
  /** Whether queries and keys pass a layer norm over headDim, with weights of their own. Default false. */
  readonly qkNorm?: boolean;
}

export const sigmoidKinds: OptionKinds<SigmoidOptions> = { length: aNumber, bias: aNumber, qkNorm: aBoolean };

/**
 * Sigmoid attention (Ramapuram et al., 2025): each weight is sigmoid(q . k / sqrt(d) + b), and no row is normalised, so
 * outputs may lie outside the range of the values. With b = -log n the weights of an untrained row sum to about 1. The
 * recipe that trains it stably (LayerScale, norms) is `sigmoidBlock`. The norms of `qkNorm` come after rotary positions,
 * where the paper has them before: use one or the other.
 *
 * @throws TopKError INVALID_OPTION
 *
 * @example
 * const layer = attentionLayer({ width: 64, heads: 4, causal: true, mechanism: sigmoidAttention({ length: 512 }) });
 */
export function sigmoidAttention(options?: SigmoidOptions): Mechanism {
  const { length, bias, qkNorm = false } = readOptions('sigmoidAttention', options, sigmoidKinds);
  if (length !== undefined) requireWhole('sigmoidAttention', 'length', length, 1);
  if (bias !== undefined) requireNumber('sigmoidAttention', 'bias', bias, 'any');
  if (length !== undefined && bias !== undefined) {
    throw new TopKError('INVALID_OPTION', 'sigmoidAttention: two biases', {
      expected: 'length or bias',
      got: 'both',
    });
  }
  const fixed = bias ?? (length === undefined ? undefined : -Math.log(length));

  const attend = (call: MechanismCall): Tensor =>
    scope(() => {
      const norm = (x: Tensor, name: string): Tensor =>
        qkNorm
          ? layerNorm(
              x,
              cast(parameterOf(call.context, `${name}.weight`), 'f32'),
              cast(parameterOf(call.context, `${name}.bias`), 'f32'),
            )
          : x;
      const scale = call.options.scale ?? (call.query.shape[3] as number) ** -0.5;
      const query = mul(norm(cast(call.query, 'f32'), 'query_norm'), scale);
      const key = norm(shown(call, call.key), 'key_norm');
      const shift = fixed ?? neg(log(keyCounts(call)));
      const output = pairAttention(call, query, key, (scores) => sigmoid(add(scores, shift)), 'none');
      return cast(output, call.value.dtype);
    });

  return {
    name: 'sigmoid',
    takes: [
      ...(fixed === undefined ? [] : (['causal', 'decoding'] as const)),
      ...(['keyLengths', 'mask', 'bias', 'relativeBias', 'dropout', 'groupedHeads'] as const),
    ],
    refusals: {
      causal:
        'Its bias, -log n, would change with every token: give the length of training texts, or the bias',
      decoding:
        'Its bias, -log n, would change with every token: give the length of training texts, or the bias',
      zeroShot: notSoftmax,
    },
    declare: ({ headDim }) => {
      if (!qkNorm) return {};
      const ones = { shape: [headDim], initializer: initializers.ones };
      const zeros = { shape: [headDim], initializer: initializers.zeros };
      return {
        'query_norm.weight': ones,
        'query_norm.bias': zeros,
        'key_norm.weight': ones,
        'key_norm.bias': zeros,
      };
    },
    attend,
    ...(fixed !== undefined && { step: (call, state) => stepWithKeys(call, state, attend) }),
  };
}
