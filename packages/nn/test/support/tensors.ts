import { arange, cast, reshape, scope, sizeOf, type Tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import type { ParameterTree } from '../../src/index.js';

export const backend = createReferenceBackend();

/** f32 [...shape]: 0, 1, 2, ... */
export function counting(...shape: readonly number[]): Tensor {
  return scope(() => reshape(cast(arange(backend, sizeOf(shape)), 'f32'), shape));
}

export type Values = { readonly [name: string]: readonly number[] };

export async function valuesOf(tree: ParameterTree): Promise<Values> {
  const values = Object.entries(tree).map(async ([name, one]) => [name, [...(await one.data())]] as const);
  return Object.fromEntries(await Promise.all(values));
}

/** What a caller in plain JavaScript may pass in place of a tensor. */
export const nothing = undefined as unknown as Tensor;
export const list = [[1, 2]] as unknown as Tensor;
