import {
  aNumber,
  formatShape,
  type OptionKinds,
  readOptions,
  type Shape,
  sizeOf,
  TopKError,
} from '@topk-attention/core';
import { orthonormalRows } from './orthogonal.js';
import { normalNumbers, uniformNumbers } from './random.js';

/** Initial values of a parameter, row-major: depends only on shape and seed, so equal seeds give equal values. */
export type Initializer = (shape: Shape, seed: number) => Float64Array;

/** Every element `value`. */
export function constant(value: number): Initializer {
  return (shape) => new Float64Array(sizeOf(shape)).fill(value);
}

export const zeros: Initializer = constant(0);
export const ones: Initializer = constant(1);

/** Uniform between -bound and bound. */
export function uniform(bound: number): Initializer {
  return (shape, seed) => uniformNumbers(seed, sizeOf(shape)).map((number) => (2 * number - 1) * bound);
}

/** N(mean, deviation^2). */
export function normal(deviation = 1, mean = 0): Initializer {
  return (shape, seed) => normalNumbers(seed, sizeOf(shape)).map((number) => mean + deviation * number);
}

/** N(0, deviation^2); values beyond `limit` are drawn again. PyTorch's limit is 2, whatever the deviation. */
export function truncNormal(deviation = 1, limit = 2): Initializer {
  if (!(limit > 0 && deviation >= 0)) {
    throw new TopKError('INVALID_OPTION', 'truncNormal: bad deviation or limit', {
      expected: 'a deviation of at least 0 and a limit above 0',
      got: `${deviation} and ${limit}`,
    });
  }
  return (shape, seed) => {
    const values = new Float64Array(sizeOf(shape)).fill(Number.NaN);
    const isDrawn = (value: number): boolean => Math.abs(value) <= limit;
    for (let stream = 0; !values.every(isDrawn); stream++) {
      const drawn = normalNumbers(seed, values.length, stream);
      for (const [at, value] of values.entries()) {
        if (!isDrawn(value)) values[at] = deviation * (drawn[at] as number);
      }
    }
    return values;
  };
}

/** Glorot and Bengio: uniform with bound gain * sqrt(6 / (in + out)). */
export function xavierUniform(gain = 1): Initializer {
  return (shape, seed) => {
    const { inputs, outputs } = fansOf('xavierUniform', shape);
    return uniform(gain * Math.sqrt(6 / (inputs + outputs)))(shape, seed);
  };
}

/** Glorot and Bengio: normal with deviation gain * sqrt(2 / (in + out)). */
export function xavierNormal(gain = 1): Initializer {
  return (shape, seed) => {
    const { inputs, outputs } = fansOf('xavierNormal', shape);
    return normal(gain * Math.sqrt(2 / (inputs + outputs)))(shape, seed);
  };
}

export interface KaimingOptions {
  /** Slope of the leaky ReLU that follows the layer. Default 0: a ReLU. */
  readonly slope?: number;
}

const kaimingKinds: OptionKinds<KaimingOptions> = { slope: aNumber };

/** He et al., by the inputs: uniform with bound sqrt(6 / ((1 + slope^2) in)). */
export function kaimingUniform(options?: KaimingOptions): Initializer {
  const { slope = 0 } = readOptions('kaimingUniform', options, kaimingKinds);
  return (shape, seed) => {
    const { inputs } = fansOf('kaimingUniform', shape);
    return uniform(Math.sqrt(6 / ((1 + slope ** 2) * inputs)))(shape, seed);
  };
}

/** He et al., by the inputs: normal with deviation sqrt(2 / ((1 + slope^2) in)). */
export function kaimingNormal(options?: KaimingOptions): Initializer {
  const { slope = 0 } = readOptions('kaimingNormal', options, kaimingKinds);
  return (shape, seed) => {
    const { inputs } = fansOf('kaimingNormal', shape);
    return normal(Math.sqrt(2 / ((1 + slope ** 2) * inputs)))(shape, seed);
  };
}

/** LeCun: normal with deviation factor / sqrt(in). T5 uses it everywhere except for queries: `t5Initializers`. */
export function lecunNormal(factor = 1): Initializer {
  return (shape, seed) => normal(factor / Math.sqrt(fansOf('lecunNormal', shape).inputs))(shape, seed);
}

/** Orthogonal rows (or columns, if there are fewer) of length `gain`. Rank 2. */
export function orthogonal(gain = 1): Initializer {
  return (shape, seed) => {
    fansOf('orthogonal', shape);
    const [rows, columns] = shape as readonly [number, number];
    if (rows <= columns) return orthonormalRows(rows, columns, seed).map((value) => gain * value);
    const turned = orthonormalRows(columns, rows, seed);
    return Float64Array.from(
      { length: rows * columns },
      (_, at) => gain * (turned[(at % columns) * rows + Math.floor(at / columns)] as number),
    );
  };
}

/** Inputs and outputs of a weight [out, in]. */
function fansOf(where: string, shape: Shape): { inputs: number; outputs: number } {
  const [outputs, inputs] = shape;
  if (shape.length === 2 && inputs !== undefined && outputs !== undefined) return { inputs, outputs };
  throw new TopKError('RANK_MISMATCH', `${where}: not the weight of a linear layer`, {
    expected: 'a shape [out, in]',
    got: formatShape(shape),
  });
}
