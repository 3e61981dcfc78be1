import type { BackendTensor, DType } from '@topk-attention/core';
import { TopKError } from '@topk-attention/core';
import type { TfTensor } from './tf.js';

/** A value of the backend: a kept `tf.Tensor` of the same shape; bool is tf's 'bool', i32 its 'int32'. */
export interface TfjsTensor extends BackendTensor {
  readonly tensor: TfTensor;
}

/** The tf type of each dtype there is; half precision there is not. */
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

/** How an operation made of raw tensors takes its inputs from the backend and hands its results to it. */
export interface TensorExchange {
  /**
   * The tf.Tensor behind a handle: not to be disposed of, written to, or returned.
   *
   * @throws TopKError DISPOSED; MIXED_BACKENDS when tf runs another engine by now.
   */
  raw(x: TfjsTensor): TfTensor;
  /** Takes over a tensor that an op returned: kept from now on, counted, and disposed of when core releases it. */
  own(tensor: TfTensor): TfjsTensor;
}
