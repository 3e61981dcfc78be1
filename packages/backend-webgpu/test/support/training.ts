import { type Tensor, tensor } from '@topk-attention/core';
import type { WebGpuBackend } from '../../src/index.js';

/** Numbers between -1 and 1 that do not repeat. */
export function wave(length: number, phase: number): Float32Array {
  return Float32Array.from({ length }, (_, i) => Math.sin(1.7 * i + phase));
}

/** Indices of examples of two classes, with three numbers each. */
export type Batch = readonly number[];
export type Inputs = { readonly x: Tensor; readonly targets: Tensor };

export function inputsOf(backend: WebGpuBackend, indices: Batch): Inputs {
  const x = Float32Array.from(indices.flatMap((i) => [...wave(3, i)]));
  const targets = Int32Array.from(indices, (i) => i % 2);
  return {
    x: tensor(backend, x, [indices.length, 3]),
    targets: tensor(backend, targets, [indices.length], 'i32'),
  };
}
