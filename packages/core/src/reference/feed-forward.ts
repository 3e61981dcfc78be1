import type { FeedForwardRequest } from '../contract/feed-forward.js';
import { activationFunctions } from './activations.js';
import { roundingTo, type ScorePrecision } from './attention-scores.js';
import type { Numbers } from './storage.js';

/** The tensors of a feed-forward call as plain row-major arrays; shapes follow from the request. */
export interface FeedForwardArrays {
  /** [tokens, D] */
  readonly x: Numbers;
  /** [D, F] */
  readonly wIn: Numbers;
  /** [F] */
  readonly bIn?: Numbers;
  /** [D, F] */
  readonly wGate?: Numbers;
  /** [F, Dout] */
  readonly wOut: Numbers;
  /** [Dout] */
  readonly bOut?: Numbers;
}

export interface ReferenceFeedForwardGradients {
  readonly x: Float64Array;
  readonly wIn: Float64Array;
  readonly bIn: Float64Array;
  readonly wGate: Float64Array;
  readonly wOut: Float64Array;
  readonly bOut: Float64Array;
}

/** The hidden units of one token: the "scores" of the paper's section 1.9, read as queries against keys wIn. */
interface HiddenUnits {
  /** s = x wIn + bIn */
  readonly preActivations: readonly number[];
  /** x wGate, or ones */
  readonly gates: readonly number[];
  /** act(s) * gate */
  readonly values: readonly number[];
  readonly kept: readonly number[];
  readonly hasNaN: boolean;
}

/** Euclidean length of each row of wOut. */
function outputNorms(request: FeedForwardRequest, wOut: Numbers): number[] {
  const { hidden, outputDim } = request;
  return Array.from({ length: hidden }, (_, unit) => {
    let sum = 0;
    for (let d = 0; d < outputDim; d++) sum += (wOut[unit * outputDim + d] as number) ** 2;
    return Math.sqrt(sum);
  });
}

/** x[token] times a [D, F] matrix, one matrix row at a time. */
function project(request: FeedForwardRequest, x: Numbers, token: number, matrix: Numbers): Float64Array {
  const { hidden, inputDim } = request;
  const sums = new Float64Array(hidden);
  for (let d = 0; d < inputDim; d++) {
    const input = x[token * inputDim + d] as number;
    for (let unit = 0; unit < hidden; unit++) {
      sums[unit] = (sums[unit] as number) + input * (matrix[d * hidden + unit] as number);
    }
  }
  return sums;
}

function hiddenUnits(
  request: FeedForwardRequest,
  arrays: FeedForwardArrays,
  norms: readonly number[],
  token: number,
  precision: ScorePrecision,
): HiddenUnits {
  const round = roundingTo(precision);
  const units = Array.from({ length: request.hidden }, (_, unit) => unit);
  const { x, wIn, bIn, wGate } = arrays;
  const { value: activation } = activationFunctions[request.activation];
  const products = project(request, x, token, wIn);
  const preActivations = units.map((unit) => round(round(products[unit] as number) + (bIn?.[unit] ?? 0)));
  const gates =
    wGate === undefined ? units.map(() => 1) : Array.from(project(request, x, token, wGate), round);
  const values = units.map((unit) =>
    round(activation(preActivations[unit] as number) * (gates[unit] as number)),
  );
  const ranks =
    request.select === 'contribution'
      ? units.map((unit) => round(Math.abs(values[unit] as number) * (norms[unit] as number)))
      : preActivations;
  const hasNaN = preActivations.some(Number.isNaN) || ranks.some(Number.isNaN);
  const { k } = request;
  if (k === 'all' || hasNaN) return { preActivations, gates, values, kept: units, hasNaN };
  const kept = units
    .filter((unit) => (ranks[unit] as number) > Number.NEGATIVE_INFINITY)
    .sort((a, b) => (ranks[a] === ranks[b] ? 0 : (ranks[b] as number) - (ranks[a] as number)))
    .slice(0, k)
    .sort((a, b) => a - b);
  return { preActivations, gates, values, kept, hasNaN };
}

/**
 * The top-k feed-forward layer, one token at a time, in f64: out = sum over kept units of act(s) * gate * wOut row,
 * plus bOut. `select: 'preactivation'` keeps the k largest s, `'contribution'` the k largest |act(s) gate| times the
 * length of the unit's row of wOut; ties go to the lower unit. A token with a NaN pre-activation is NaN throughout.
 * With `precision` 'f32' hidden units are rounded as engines round them.
 *
 * @returns [tokens, Dout]
 */
export function referenceFeedForward(
  request: FeedForwardRequest,
  arrays: FeedForwardArrays,
  precision: ScorePrecision = 'f64',
): Float64Array {
  const { outputDim, tokens } = request;
  const output = new Float64Array(tokens * outputDim);
  const norms = request.select === 'contribution' ? outputNorms(request, arrays.wOut) : [];
  for (let token = 0; token < tokens; token++) {
    const { kept, values, hasNaN } = hiddenUnits(request, arrays, norms, token, precision);
    for (let d = 0; d < outputDim; d++) {
      let sum = 0;
      for (const unit of kept) {
        sum += (values[unit] as number) * (arrays.wOut[unit * outputDim + d] as number);
      }
      output[token * outputDim + d] = hasNaN ? Number.NaN : sum + (arrays.bOut?.[d] ?? 0);
    }
  }
  return output;
}

/** Every token's kept units, ascending, then -1, and their pre-activations, which the backward pass starts from. */
export function referenceKeptUnits(
  request: FeedForwardRequest,
  arrays: FeedForwardArrays,
  k: number,
  precision: ScorePrecision = 'f64',
): { readonly indices: Int32Array; readonly preactivations: Float64Array } {
  const { tokens } = request;
  const norms = request.select === 'contribution' ? outputNorms(request, arrays.wOut) : [];
  const indices = new Int32Array(tokens * k).fill(-1);
  const preactivations = new Float64Array(tokens * k);
  for (let token = 0; token < tokens; token++) {
    const { kept, preActivations, hasNaN } = hiddenUnits(request, arrays, norms, token, precision);
    for (let slot = 0; slot < k; slot++) {
      const unit = kept[slot];
      if (unit !== undefined) indices[token * k + slot] = unit;
      const value = unit === undefined ? 0 : (preActivations[unit] as number);
      preactivations[token * k + slot] = hasNaN ? Number.NaN : value;
    }
  }
  return { indices, preactivations };
}

/**
 * Gradients of `referenceFeedForward`, for one kept unit j of one token (paper section 1.6 with f = act * gate):
 *
 *     dH_j = G . wOut_j            dwOut_j += H_j G            dbOut += G
 *     dS_j = dH_j gate_j act'(s_j)     dGate_j = dH_j act(s_j)
 *     dx  += dS_j wIn_j + dGate_j wGate_j,   dwIn_j += dS_j x,   dbIn_j += dS_j,   dwGate_j += dGate_j x
 */
export function referenceFeedForwardBackward(
  request: FeedForwardRequest,
  arrays: FeedForwardArrays,
  dOutput: Numbers,
  precision: ScorePrecision = 'f64',
): ReferenceFeedForwardGradients {
  const { hidden, inputDim, outputDim, tokens } = request;
  const { derivative, value: activation } = activationFunctions[request.activation];
  const norms = request.select === 'contribution' ? outputNorms(request, arrays.wOut) : [];
  const gradients: ReferenceFeedForwardGradients = {
    x: new Float64Array(tokens * inputDim),
    wIn: new Float64Array(inputDim * hidden),
    bIn: new Float64Array(request.biasIn ? hidden : 0),
    wGate: new Float64Array(request.gated ? inputDim * hidden : 0),
    wOut: new Float64Array(hidden * outputDim),
    bOut: new Float64Array(request.biasOut ? outputDim : 0),
  };
  const add = (array: Float64Array, position: number, amount: number): void => {
    if (position < array.length) array[position] = (array[position] as number) + amount;
  };
  for (let token = 0; token < tokens; token++) {
    const { kept, preActivations, gates, values, hasNaN } = hiddenUnits(
      request,
      arrays,
      norms,
      token,
      precision,
    );
    for (let d = 0; d < outputDim; d++) add(gradients.bOut, d, dOutput[token * outputDim + d] as number);
    for (const unit of kept) {
      let dValue = hasNaN ? Number.NaN : 0;
      for (let d = 0; d < outputDim; d++) {
        const gradient = dOutput[token * outputDim + d] as number;
        add(gradients.wOut, unit * outputDim + d, hasNaN ? Number.NaN : (values[unit] as number) * gradient);
        dValue += gradient * (arrays.wOut[unit * outputDim + d] as number);
      }
      const s = preActivations[unit] as number;
      const dPreActivation = dValue * (gates[unit] as number) * derivative(s);
      const dGate = dValue * activation(s);
      add(gradients.bIn, unit, dPreActivation);
      for (let d = 0; d < inputDim; d++) {
        const weight = d * hidden + unit;
        const input = arrays.x[token * inputDim + d] as number;
        add(gradients.x, token * inputDim + d, dPreActivation * (arrays.wIn[weight] as number));
        add(gradients.wIn, weight, dPreActivation * input);
        if (arrays.wGate === undefined) continue;
        add(gradients.x, token * inputDim + d, dGate * (arrays.wGate[weight] as number));
        add(gradients.wGate, weight, dGate * input);
      }
    }
  }
  return gradients;
}
