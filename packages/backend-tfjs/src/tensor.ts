import type { DType } from '@topk-attention/core';
import { TopKError } from '@topk-attention/core';
import type { BackendTensor } from '@topk-attention/core/backend';
import type { TfTensor } from './tf.js';

/** A value of the backend: a kept `tf.Tensor` of the same shape; bool is tf's 'bool', i32 its 'int32'. */
export interface TfjsTensor extends BackendTensor {
  readonly tensor: TfTensor;
}

/** The types of tf for core's dtypes; tf has no half precision. */
export type TfDType = 'float32' | 'int32' | 'bool';

export function tfTypeOf(dtype: DType): TfDType {
  switch (dtype) {
    case 'f32':
      return 'float32';
    case 'i32':
      return 'int32';
    case 'bool':
      return 'bool';
    case 'f16':
      throw new TopKError('UNSUPPORTED', 'tfjs has no 16-bit floating point type', {
        expected: 'f32, i32 or bool',
        got: 'f16',
        fix: 'Widen to f32; checkpoints in half precision are widened when they are loaded',
      });
    default:
      return dtype satisfies never;
  }
}

/** The dtype of a tf type; undefined for 'string' and 'complex64'. */
export function dtypeOfTf(type: string): DType | undefined {
  if (type === 'float32') return 'f32';
  if (type === 'int32') return 'i32';
  return type === 'bool' ? 'bool' : undefined;
}

/** How an operation on tensors of tf takes its inputs from the backend and hands its results over. */
export interface TensorExchange {
  /**
   * The tf.Tensor behind a handle: not to be disposed of, written to, or returned.
   *
   * @throws TopKError DISPOSED; MIXED_BACKENDS when tf now runs another engine.
   */
  raw(x: TfjsTensor): TfTensor;
  /** Takes over the result of an op: from now on it is kept and counted, and disposed of when core releases it. */
  own(tensor: TfTensor): TfjsTensor;
}
