import { type Tensor, TopKError } from '@topk-attention/core';
import { fromBackendTensor } from '@topk-attention/core/backend';
import { TfjsBackend } from './backend.js';
import { dtypeOfTf, type TfjsTensor } from './tensor.js';
import type { TfTensor } from './tf.js';

/**
 * A tensor around the caller's `tf.Tensor`, without a copy. It is borrowed: never written to, never disposed of. It
 * must outlive the tensor and everything still to be computed from it; later use fails with DISPOSED. A `tf.Variable`
 * gives the value it has now, which later assignments do not change.
 *
 * @throws TopKError INVALID_OPTION for anything other than a tf.Tensor; NOT_DIFFERENTIABLE for float32 while tf
 * records for gradients, which end here (inside `tf.customGrad` it does not); DISPOSED; DTYPE_MISMATCH for element
 * types other than float32, int32 and bool; MIXED_BACKENDS for a tensor on another engine, or when tf now runs another
 * one.
 */
export function fromTf(backend: TfjsBackend, tensor: TfTensor): Tensor {
  const given: unknown = tensor;
  if (!isTfTensor(given)) {
    throw new TopKError('INVALID_OPTION', 'fromTf: not a tf.Tensor', {
      expected: 'a tf.Tensor of float32, int32 or bool',
      got: given === null ? 'null' : typeof given,
      fix: 'Numbers come in with tensor(backend, data, shape)',
    });
  }
  if (given.isDisposed) {
    throw new TopKError('DISPOSED', 'fromTf: the tf.Tensor was disposed of', {
      got: `a disposed tensor of shape [${given.shape}]`,
      fix: 'Keep it (tf.keep, or return it from tf.tidy), or dispose of it later',
    });
  }
  const dtype = dtypeOfTf(given.dtype);
  if (dtype === undefined) {
    throw new TopKError('DTYPE_MISMATCH', 'fromTf: element type not supported', {
      expected: 'float32, int32 or bool',
      got: given.dtype,
      fix: 'Cast it first (tf.cast)',
    });
  }
  requireHome(backend, given);
  if (dtype === 'f32') requireNoTape(backend);
  return fromBackendTensor(backend, backend.borrow(given, dtype));
}

/**
 * The value of a tensor of this backend as a `tf.Tensor`, without a copy. It belongs to the caller and follows tf's own
 * rules: inside `tf.tidy` it is freed with the scope unless it is returned or kept; outside, dispose of it. It stays
 * valid when the tensor is disposed of.
 *
 * @throws TopKError MIXED_BACKENDS for a tensor of another backend, or when tf now runs another engine; DISPOSED; the
 * engine's error when computing it failed.
 */
export function toTf(tensor: Tensor): TfTensor {
  const { backend, handle } = tensor;
  if (!(backend instanceof TfjsBackend)) {
    throw new TopKError('MIXED_BACKENDS', 'toTf: not a tensor of this backend', {
      expected: 'tfjs',
      got: backend.name,
      fix: 'Read the values with data() and make a tf.tensor of them',
    });
  }
  return backend.export(handle as TfjsTensor);
}

/** The backend's ops are not made for tf's tape, which would find gradients for some and not for others. */
function requireNoTape({ engine: { tf } }: TfjsBackend): void {
  const { gradientDepth, kernelDepth } = tf.engine().state;
  if (gradientDepth === 0 || kernelDepth > 0) return;
  throw new TopKError(
    'NOT_DIFFERENTIABLE',
    "fromTf: inside tf.grads: tf's gradients end at tensors of a backend",
    {
      expected: 'a call outside of tf.grad, tf.grads and tf.variableGrads, or inside tf.customGrad',
      got: 'a float32 tensor while tf records for gradients',
      fix: "Call topKAttention(tf, ...), exactAttention or topKFeedForward of '@topk-attention/tfjs/layers' there, or differentiate the whole with core's grad()",
    },
  );
}

/** tf would silently move data from another of its engines, or fail where that requires waiting. */
function requireHome(backend: TfjsBackend, tensor: TfTensor): void {
  const { tf, name } = backend.engine;
  const home = tf.engine().state.tensorInfo.get(tensor.dataId)?.backend;
  // The backend itself reports that tf now runs another engine.
  if (home === tf.findBackend(name) || tf.getBackend() !== name) return;
  throw new TopKError('MIXED_BACKENDS', 'fromTf: the tf.Tensor does not live on the engine of the backend', {
    expected: `a tensor on '${name}'`,
    got: home === undefined ? 'a tensor of another TensorFlow.js' : 'a tensor on another engine of this tf',
    fix: 'Copy it in with tensor(backend, await x.data(), x.shape), or make it after tf.setBackend',
  });
}

function isTfTensor(value: unknown): value is TfTensor {
  return (
    typeof value === 'object' && value !== null && 'dataId' in value && 'dtype' in value && 'shape' in value
  );
}
