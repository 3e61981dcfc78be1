import type { Engine } from '../engine/engine.js';
import type { TfTensor } from '../tf.js';
import { onHost } from './host/integers.js';
import { gatherRows, scatter } from './rows.js';

/**
 * result[..., j] = x[..., indices[..., j]] over the last axis, leading dims equal. Index -1 gives 0; any other index
 * outside the axis gives NaN, or 0 where x holds no floats.
 */
export function takeAlong(engine: Engine, x: TfTensor, indices: TfTensor): TfTensor {
  const exact = onHost(engine, [x, indices], (host, y, at) => host.takeAlong(y, at));
  if (exact) return exact;
  const { tf } = engine;
  if (indices.size === 0) return tf.zeros(indices.shape, x.dtype);
  return tf.tidy(() => {
    const count = indices.shape.at(-1) ?? 1;
    const rows = indices.size / count;
    const taken = gatherRows(
      engine,
      tf.reshape(x, [rows, x.shape.at(-1) ?? 1, 1]),
      tf.reshape(indices, [rows, count]),
    );
    return tf.reshape(taken, indices.shape);
  });
}

/**
 * Zeros with last extent n and values[..., j] at indices[..., j], which are unique; indices outside [0, n) are dropped.
 */
export function putAlong(engine: Engine, indices: TfTensor, values: TfTensor, n: number): TfTensor {
  const exact = onHost(engine, [indices, values], (host, at, own) => host.putAlong(at, own, n));
  if (exact) return exact;
  const { tf } = engine;
  const count = values.shape.at(-1) ?? 1;
  const shape = [...values.shape.slice(0, -1), n];
  if (values.size === 0) return tf.zeros(shape, values.dtype);
  return tf.tidy(() => {
    const rows = values.size / count;
    const put = scatter(engine, n, tf.reshape(indices, [rows, count]), tf.reshape(values, [rows, count, 1]));
    return tf.reshape(put, shape);
  });
}
