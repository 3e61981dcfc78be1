import type { Engine } from '../engine.js';
import type { TfTensor } from '../tf.js';
import { hostGatherRows } from './host-gather.js';
import { onHost } from './host-integers.js';
import { gatherPerBatch, scatter } from './rows.js';

/** result[..., j] = x[..., indices[..., j]] over the last axis, leading dims equal; index -1 gives 0. */
export function takeAlong(engine: Engine, x: TfTensor, indices: TfTensor): TfTensor {
  const exact = onHost(engine, [x, indices], (host, y, at) => host.takeAlong(y, at));
  if (exact) return exact;
  const { tf } = engine;
  if (indices.size === 0 || x.size === 0) return tf.zeros(indices.shape, x.dtype);
  return tf.tidy(() => {
    const width = x.shape.at(-1) ?? 1;
    const count = indices.shape.at(-1) ?? 1;
    const rows = tf.reshape(x, [x.size / width, width]);
    const at = tf.reshape(indices, [indices.size / count, count]);
    if (engine.name === 'cpu') {
      const taken = hostGatherRows(x.dataSync(), indices.dataSync(), rows.size / width, width, 1);
      return tf.tensor(taken, indices.shape, x.dtype);
    }
    const used = tf.maximum(at, tf.scalar(0, 'int32'));
    const taken = tf.reshape(gatherPerBatch(engine, tf.expandDims(rows, 2), used), at.shape);
    const isUnused = tf.less(at, tf.scalar(0, 'int32'));
    return tf.reshape(tf.where(isUnused, tf.zerosLike(taken), taken), indices.shape);
  });
}

/** Zeros of last extent n with values[..., j] put at indices[..., j], unique but for -1, which is dropped. */
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
