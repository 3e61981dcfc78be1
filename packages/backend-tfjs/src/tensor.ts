import type { BackendTensor } from '@topk-attention/core';
import type { TfTensor } from './tf.js';

/** A value of the backend: a kept `tf.Tensor` of the same shape; bool is tf's 'bool', i32 its 'int32'. */
export interface TfjsTensor extends BackendTensor {
  readonly tensor: TfTensor;
}
