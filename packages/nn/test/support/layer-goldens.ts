import { readFileSync } from 'node:fs';
import { sizeOf, type Tensor, tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import type { StateDict } from '../../src/index.js';

/** One of tooling/goldens/layers.py. */
export interface LayerGolden {
  readonly name: string;
  readonly lengths?: readonly number[];
  /** Shapes by PyTorch's names, sorted. */
  readonly parameters: { readonly [name: string]: readonly number[] };
  readonly inputs: readonly (readonly number[])[];
  readonly shape: readonly number[];
  readonly output: readonly number[];
  /** Weighted sums, by names of separate projections. */
  readonly gradients: { readonly [name: string]: number };
  readonly inputGradients: readonly number[];
}

const read: { readonly cases: readonly LayerGolden[]; readonly sinusoids: readonly number[] } = JSON.parse(
  readFileSync(new URL('../goldens/layers.json', import.meta.url), 'utf8'),
);

export const { sinusoids } = read;

export const exactBackend = createReferenceBackend({ floatStorage: 'f64' });

export function layerGolden(name: string): LayerGolden {
  const found = read.cases.find((one) => one.name === name);
  if (found === undefined) throw new Error(`no golden ${name}`);
  return found;
}

const formula = (index: number, shape: readonly number[]): Float32Array =>
  Float32Array.from({ length: sizeOf(shape) }, (_, i) => (((37 * i + 11 * index) % 64) - 32) / 80);

/** PyTorch's parameters. */
export function goldenParameters({ parameters }: LayerGolden): StateDict {
  const entries = Object.entries(parameters).map(([name, shape], index) => [
    name,
    { dtype: 'F32', shape, data: formula(index, shape) },
  ]);
  return Object.fromEntries(entries);
}

export function goldenInputs(golden: LayerGolden, backend = exactBackend): Tensor[] {
  const before = Object.keys(golden.parameters).length;
  return golden.inputs.map((shape, index) => tensor(backend, formula(before + index, shape), shape));
}

/** ((step i) mod period - period / 2) / (period / 2) */
export const ramp = (step: number, period: number, count: number): Float64Array =>
  Float64Array.from({ length: count }, (_, i) => (((step * i) % period) - period / 2) / (period / 2));

/** The one number that is stored of a gradient. */
export async function probe(gradient: Tensor): Promise<number> {
  const weights = ramp(7, 32, gradient.size);
  return Array.from(await gradient.data()).reduce((total, g, i) => total + g * (weights[i] as number), 0);
}
