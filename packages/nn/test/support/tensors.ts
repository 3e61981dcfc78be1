import { arange, cast, reshape, scope, sizeOf, type Tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';

export const backend = createReferenceBackend();

/** f32 [...shape]: 0, 1, 2, ... */
export function counting(...shape: readonly number[]): Tensor {
  return scope(() => reshape(cast(arange(backend, sizeOf(shape)), 'f32'), shape));
}

/** What a caller in plain JavaScript may pass in place of a tensor. */
export const nothing = undefined as unknown as Tensor;
export const list = [[1, 2]] as unknown as Tensor;
