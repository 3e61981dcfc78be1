import {
  add,
  aNumber,
  cast,
  describeValue,
  fill,
  layerNorm,
  mul,
  type OptionKinds,
  oneOf,
  readOptions,
  scope,
  type Tensor,
  TopKError,
} from '@topk-attention/core';
import type { Mechanism, MechanismCall } from '@topk-attention/nn';
import { refuseIdle, requireNumber, requireWhole, shown } from './inputs.js';
import { attendLinearly, type Features, type LinearSettings, stepLinearly } from './linear.js';
import { linearMonomials, quadraticMonomials } from './monomials.js';
import { pairAttention } from './pairs.js';
import { attendInChunks } from './query-chunks.js';
import { asOtherForm, noPairs, notSoftmax } from './refusals.js';

export interface FastmaxOptions {
  /** The order of the polynomial: 1 + s, or 1 + s + s^2 / 2. Default 2. */
  readonly order?: 1 | 2;
  /**
   * What is done to each query and key first: 'standardise' subtracts its mean and divides by its deviation; 'none' leaves
   * it, and is for order 2 alone. Default 'standardise'.
   */
  readonly normalise?: 'standardise' | 'none';
  /**
   * Divides the products of queries and keys, where the layer has no `scale`. Default: headDim for order 1, so that 1 + s
   * is never negative; 1 for order 2; sqrt(headDim) without normalisation.
   */
  readonly temperature?: number;
  /**
   * 'factorised' sums moments of the keys: linear in their number, with 1 + d + d (d + 1) / 2 features for order 2. 'direct'
   * computes all pairs: less work for fewer than about d^2 / 2 keys, and without decoding. Both give the same numbers.
   * Default 'factorised'.
   */
  readonly form?: 'factorised' | 'direct';
  /** Tokens per chunk of the sums of the factorised form. Default: planned. */
  readonly chunk?: number;
}

const kinds: OptionKinds<FastmaxOptions> = {
  order: { what: '1 or 2', is: (value) => value === 1 || value === 2 },
  normalise: oneOf('standardise', 'none'),
  temperature: aNumber,
  form: oneOf('factorised', 'direct'),
  chunk: aNumber,
};

/**
 * Fastmax (FAST, Gerami et al., 2024): weights 1 + s + s^2 / 2 (or 1 + s) of scores s, divided by their sum. A polynomial
 * of a product is a product of monomials, so the factorised form estimates nothing. Dropout drops moments of the keys in
 * the numerator, and has no meaning for the direct form. A token of equal entries is standardised to zeros, which multiplies
 * its gradient by 1e6.
 *
 * @throws TopKError INVALID_OPTION, also for a chunk of the direct form; when the layer is built, for order 1 with scores that
 * may fall below -1.
 *
 * @example
 * const layer = attentionLayer({ width: 64, heads: 8, mechanism: fastmax({ order: 2 }) });
 */
export function fastmax(options?: FastmaxOptions): Mechanism {
  const {
    order = 2,
    normalise = 'standardise',
    temperature,
    form = 'factorised',
    chunk,
  } = readOptions('fastmax', options, kinds);
  if (form === 'direct') refuseIdle('fastmax', 'chunk', chunk, "form: 'factorised'", "form: 'direct'");
  if (chunk !== undefined) requireWhole('fastmax', 'chunk', chunk, 1);
  if (temperature !== undefined) requireNumber('fastmax', 'temperature', temperature, 'positive');
  if (order === 1 && normalise === 'none') throw unbounded('none', "normalise: 'standardise'");

  const monomials = order === 1 ? linearMonomials : quadraticMonomials();
  // Weights of order 1 are 0 for opposite vectors; all of them may be, up to rounding.
  const floor = order === 1 ? 1e-6 : 0;

  const scaleOf = ({ query, options: { scale } }: MechanismCall): number => {
    const width = query.shape[3] as number;
    const own = normalise === 'none' ? Math.sqrt(width) : order === 1 ? width : 1;
    const factor = scale ?? 1 / (temperature ?? own);
    // Standardised rows have a product of at most their width.
    if (order === 1 && Math.abs(factor) * width > 1 + 1e-9) {
      throw unbounded(`a scale of ${factor}`, `a scale between -1 / ${width} and 1 / ${width}`);
    }
    return factor;
  };
  const rowsOf = (x: Tensor, factor: number): Tensor =>
    normalise === 'standardise' ? standardised(x, factor) : mul(x, factor);

  const settingsOf = ({ options: { dropout } }: MechanismCall): LinearSettings => ({
    ...(chunk !== undefined && { chunk }),
    ...(floor > 0 && { leastDenominator: floor }),
    ...(dropout && { dropout }),
  });
  const featuresOf = (call: MechanismCall): Features => {
    const scale = scaleOf(call);
    const root = Math.sqrt(Math.abs(scale));
    return {
      query: monomials(rowsOf(cast(call.query, 'f32'), Math.sign(scale) * root)),
      // Hidden keys may be NaN, and their gradient is 0 times that.
      key: monomials(rowsOf(shown(call, call.key), root)),
    };
  };
  const weigh = (scores: Tensor): Tensor =>
    scope(() => {
      const line = add(scores, 1);
      return order === 1 ? line : add(line, mul(mul(scores, scores), 0.5));
    });
  const direct = (call: MechanismCall): Tensor =>
    attendInChunks(call, (chunk) => {
      const query = rowsOf(cast(chunk.query, 'f32'), scaleOf(chunk));
      return pairAttention(chunk, query, rowsOf(shown(chunk, chunk.key), 1), { weigh, floor });
    });

  return {
    name: `fastmax of order ${order}`,
    takes:
      form === 'direct'
        ? ['causal', 'keyLengths', 'groupedHeads']
        : ['causal', 'keyLengths', 'dropout', 'groupedHeads', 'decoding'],
    refusals: {
      ...(form === 'direct' ? asOtherForm('factorised') : noPairs),
      ...(form === 'direct' && { dropout: 'Its dropout is that of moments, which the direct form has not' }),
      ...(form === 'direct' && { decoding: 'Only the factorised form has a state' }),
      zeroShot: notSoftmax,
    },
    attend: (call) =>
      scope(() => {
        const made =
          form === 'direct' ? direct(call) : attendLinearly(call, featuresOf(call), settingsOf(call));
        return cast(made, call.value.dtype);
      }),
    ...(form === 'factorised' && {
      step: (call, state) =>
        scope(() => {
          const { output, state: next } = stepLinearly(call, state, featuresOf(call), settingsOf(call));
          return { output: cast(output, call.value.dtype), state: next };
        }),
    }),
  };
}

/**
 * x [..., d] less its mean, over its deviation, times a factor; rows of equal entries become zeros, where the gradient is 1e6
 * times the output's: 1e-12 is added to the variance, so that digits of outputs are those of the definition.
 */
function standardised(x: Tensor, factor: number): Tensor {
  return scope(() =>
    layerNorm(x, fill(x.backend, factor, [x.shape.at(-1) as number], x.dtype), undefined, 1e-12),
  );
}

function unbounded(got: string, expected: string): TopKError {
  return new TopKError('INVALID_OPTION', 'fastmax: weights 1 + s may be negative, and their sum 0', {
    expected,
    got: describeValue(got),
    fix: 'Use order 2, whose weights are at least 1/2',
  });
}
