import {
  aBoolean,
  add,
  aNumber,
  cast,
  exactAttention,
  layerNorm,
  log,
  neg,
  type OptionKinds,
  readOptions,
  scope,
  type Tensor,
  TopKError,
} from '@topk-attention/core';
import { initializers, type Mechanism, type MechanismCall, parameterOf } from '@topk-attention/nn';
import { keyCounts, requireNumber, requireWhole, shown } from './inputs.js';
import { stepWithKeys } from './kept-tokens.js';
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
      const norm = (x: Tensor, name: string): Tensor => {
        if (!qkNorm) return x;
        const of = (part: string): Tensor => cast(parameterOf(call.context, `${name}.${part}`), 'f32');
        return cast(layerNorm(cast(x, 'f32'), of('weight'), of('bias')), x.dtype);
      };
      const { keyLengths, bias: given, relativeBias } = call.options;
      // Texts of several lengths have each their own shift, as a bias.
      const ofTexts = fixed === undefined && keyLengths ? neg(log(keyCounts(call))) : undefined;
      const wide = given && cast(given, 'f32');
      const biases = wide && ofTexts ? add(wide, ofTexts) : (wide ?? ofTexts);
      const { budgetBytes } = call.context;
      return exactAttention(
        norm(call.query, 'query_norm'),
        // Hidden keys may be NaN, and the gradient of their norm is 0 times that.
        norm(qkNorm ? cast(shown(call, call.key), call.key.dtype) : call.key, 'key_norm'),
        call.value,
        {
          ...call.options,
          ...(biases && { bias: biases }),
          ...(relativeBias && { relativeBias: { ...relativeBias, table: cast(relativeBias.table, 'f32') } }),
          ...(budgetBytes !== undefined && { budgetBytes }),
          sigmoidShift: fixed ?? (ofTexts ? 0 : -Math.log(call.key.shape[2] as number)),
        },
      );
    });

  return {
    name: 'sigmoid',
    takes: [
      ...(fixed === undefined ? [] : (['causal', 'decoding'] as const)),
      ...(['keyLengths', 'mask', 'bias', 'relativeBias', 'dropout', 'groupedHeads'] as const),
    ],
    refusals: {
      causal:
        'Its bias, -log n, would change with every token: pass length, that of the texts in training, or bias',
      decoding:
        'Its bias, -log n, would change with every token: pass length, that of the texts in training, or bias',
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
