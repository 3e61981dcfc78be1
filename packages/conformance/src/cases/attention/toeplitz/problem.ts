import { type Backend, type Tensor, toeplitzProduct } from '@topk-attention/core';
import { differentiate, type Ran } from '../../../harness/support/differentiate.js';
import { type Nd, nd } from '../../../harness/support/nd.js';
import { Random } from '../../../harness/support/random.js';

/** A Toeplitz product with its numbers, and the gradient of its output. */
export interface ToeplitzProblem {
  /** [H, 2 n - 1] */
  readonly factors: Nd;
  /** [B, H, n, C] */
  readonly x: Nd;
  readonly cotangent: Nd;
}

type ToeplitzRole = 'factors' | 'x';
export type ToeplitzAnswer = Ran<ToeplitzRole>;

export interface ToeplitzSizes {
  readonly batch: number;
  readonly heads: number;
  readonly length: number;
  readonly columns: number;
}

/** Factors in [-1, 1), columns and cotangent small enough for sums of about 1. All are exact in every float type. */
export function drawToeplitz({ batch, heads, length, columns }: ToeplitzSizes): ToeplitzProblem {
  const random = new Random(`toeplitz ${[batch, heads, length, columns]}`);
  const scale = 2 ** -Math.ceil(Math.log2(length) / 2);
  const small = (): Nd => {
    const { shape, data } = random.uniform([batch, heads, length, columns]);
    return { shape, data: data.map((one) => one * scale) };
  };
  return { factors: random.uniform([heads, 2 * length - 1]), x: small(), cotangent: small() };
}

/** Core's operation on a backend. */
export function run(
  backend: Backend,
  { factors, x, cotangent }: ToeplitzProblem,
  training: boolean,
  storage: 'f32' | 'f16' = 'f32',
): Promise<ToeplitzAnswer> {
  return differentiate<ToeplitzRole>(
    backend,
    { factors, x },
    (by) => toeplitzProduct(by.factors as Tensor, by.x as Tensor),
    training ? cotangent : undefined,
    storage,
  );
}

/** The output and its gradients as sums over all pairs of tokens, in f64. */
export function solve({ factors, x, cotangent }: ToeplitzProblem): ToeplitzAnswer {
  const [batch, heads, length, columns] = x.shape as readonly [number, number, number, number];
  const [c, values, g] = [factors, x, cotangent].map((one) => Float64Array.from(one.data)) as [
    Float64Array,
    Float64Array,
    Float64Array,
  ];
  const output = new Float64Array(values.length);
  const ofFactors = new Float64Array(c.length);
  const ofX = new Float64Array(values.length);
  for (let group = 0; group < batch * heads; group++) {
    const middle = (group % heads) * (2 * length - 1) + length - 1;
    for (let i = 0; i < length; i++) {
      for (let j = 0; j < length; j++) {
        const factor = c[middle + j - i] as number;
        const [row, source] = [(group * length + i) * columns, (group * length + j) * columns];
        let dot = 0;
        for (let d = 0; d < columns; d++) {
          output[row + d] = (output[row + d] as number) + factor * (values[source + d] as number);
          ofX[source + d] = (ofX[source + d] as number) + factor * (g[row + d] as number);
          dot += (g[row + d] as number) * (values[source + d] as number);
        }
        ofFactors[middle + j - i] = (ofFactors[middle + j - i] as number) + dot;
      }
    }
  }
  return {
    output: Array.from(output),
    gradients: { factors: Array.from(ofFactors), x: Array.from(ofX) },
  };
}

/** The numbers with one of them replaced. */
export function spoilt({ shape, data }: Nd, place: readonly number[], bad: number): Nd {
  return nd(shape, (at, i) => (at.every((one, axis) => one === place[axis]) ? bad : (data[i] as number)));
}
