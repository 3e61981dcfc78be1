import { type Tensor, TopKError } from '@topk-attention/core';
import { fromBackendTensor } from '@topk-attention/core/backend';
import { OnnxRuntimeBackend } from './backend.js';
import { dtypeOfOrt } from './graph/dtypes.js';
import { OnnxNode } from './graph/node.js';
import type { OrtArray, OrtTensor } from './runtime/ort.js';

/**
 * Wraps the caller's `ort.Tensor` without a copy. It is borrowed: never written to, never disposed of. Its values must
 * not change until the graphs that read it have been evaluated. Bools must be 0 or 1.
 *
 * @throws TopKError DTYPE_MISMATCH for element types other than float32, int32 and bool.
 */
export function fromOrt(backend: OnnxRuntimeBackend, tensor: OrtTensor): Tensor {
  const dtype = dtypeOfOrt(tensor.type);
  if (!backend.capabilities.dtypes.includes(dtype)) {
    throw new TopKError('DTYPE_MISMATCH', 'fromOrt: element type not supported', {
      expected: backend.capabilities.dtypes.join(', '),
      got: tensor.type,
    });
  }
  return fromBackendTensor(backend, backend.graph.borrow(tensor, [...tensor.dims], dtype));
}

/**
 * The engine's own tensor behind a tensor of this backend, computed if need be, without a copy. It stays valid when the
 * tensor is disposed of; it must not be written to before that.
 *
 * @throws TopKError MIXED_BACKENDS for a tensor of another backend; DISPOSED; the engine's error when computing it failed.
 */
export async function toOrt(tensor: Tensor): Promise<OrtTensor & { readonly data: OrtArray }> {
  const { backend, handle } = tensor;
  if (!(backend instanceof OnnxRuntimeBackend) || !(handle instanceof OnnxNode)) {
    throw new TopKError('MIXED_BACKENDS', 'toOrt: not a tensor of this backend', {
      expected: 'onnxruntime',
      got: backend.name,
      fix: 'Read the values with data() and make an ort.Tensor of them',
    });
  }
  return (await backend.export(handle)) as OrtTensor & { readonly data: OrtArray };
}
