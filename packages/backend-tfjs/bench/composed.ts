import type { Tf, TfTensor } from './engines.js';
import type { Outputs } from './method.js';
import type { Inputs, Tile } from './setup.js';
import { overTiles } from './tiles.js';

/** Rows of x [H, L, D] at indices [H, C, k], through one flat gather: [H * C, k, D]. */
function rowsAt(tf: Tf, x: TfTensor, flat: TfTensor): TfTensor {
  const [heads = 0, length = 0, width = 0] = x.shape;
  const [, queries = 0, k = 0] = flat.shape;
  const rows = tf.gather(tf.reshape(x, [heads * length, width]), tf.reshape(flat, [heads * queries * k]));
  return tf.reshape(rows, [heads * queries, k, width]);
}

function flatIndices(tf: Tf, indices: TfTensor, length: number): TfTensor {
  const heads = indices.shape[0] as number;
  const first = tf.mul(tf.range(0, heads, 1, 'int32'), tf.scalar(length, 'int32'));
  return tf.add(indices, tf.reshape(first, [heads, 1, 1]));
}

export function composedForward(tf: Tf, inputs: Inputs, tile: Tile): Outputs {
  const { dim, length, k: kept } = inputs.setup;
  return overTiles(tf, inputs, tile, ({ q, k, v }) => {
    const { values, indices } = tf.tidy(() =>
      tf.topk(tf.matMul(tf.mul(q, dim ** -0.5), k, false, true), kept),
    );
    const rows = rowsAt(tf, v, flatIndices(tf, indices, length));
    const weights = tf.reshape(tf.softmax(values), [-1, 1, kept]);
    return { output: tf.reshape(tf.matMul(weights, rows), q.shape) };
  });
}

/** tf has no gradient of topk: what a user would write is the attention over the keys that it kept. */
export function composedBackward(tf: Tf, inputs: Inputs, tile: Tile): Outputs {
  const { dim, length, k: kept } = inputs.setup;
  return overTiles(tf, inputs, tile, ({ q, k, v, dOutput, indices }) => {
    const flat = flatIndices(tf, indices as TfTensor, length);
    const gradients = tf.grads((ownQ, ownK, ownV) => {
      const queries = tf.reshape(tf.mul(ownQ as TfTensor, dim ** -0.5), [-1, 1, dim]);
      const scores = tf.matMul(queries, rowsAt(tf, ownK as TfTensor, flat), false, true);
      const weights = tf.softmax(tf.reshape(scores, [-1, kept]));
      const output = tf.matMul(tf.reshape(weights, [-1, 1, kept]), rowsAt(tf, ownV as TfTensor, flat));
      return tf.reshape(output, q.shape);
    });
    const [dQ, dK, dV] = gradients([q, k, v], dOutput) as [TfTensor, TfTensor, TfTensor];
    return { q: dQ, k: dK, v: dV };
  });
}
