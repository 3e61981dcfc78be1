import type { Engine } from '../engine.js';
import type { TfTensor } from '../tf.js';

/**
 * Rows of x [N, D] at numbers i32 [M, 1], all of them in range: [M, D]. tf.gather checks each number in JavaScript (14 ms
 * against 3 per 50 MB on tfjs-node, 27 us against 3 per query of 16 keys on wasm), and the cpu engine's ops work element
 * by element (137 us), where copying rows takes 1.
 */
export function rowsAt({ tf, name }: Engine, x: TfTensor, numbers: TfTensor): TfTensor {
  if (name !== 'cpu') return tf.gatherND(x, numbers);
  const width = x.shape[1] as number;
  const from = x.dataSync<'float32'>();
  const at = numbers.dataSync<'int32'>();
  const rows = new Float32Array(at.length * width);
  for (let row = 0; row < at.length; row++) {
    const first = (at[row] as number) * width;
    rows.set(from.subarray(first, first + width), row * width);
  }
  return tf.tensor(rows, [at.length, width]);
}

/**
 * weights [R, k] times rows [R, 1, D]: [R * k, D]. As a product of matrices on the cpu engine, whose broadcasting is
 * slower (92 us against 14 per query of 16 keys); elsewhere it is the faster or not the slower of the two.
 */
export function outerProducts({ tf, name }: Engine, weights: TfTensor, rows: TfTensor): TfTensor {
  const [count = 0, k = 0] = weights.shape;
  const column = tf.reshape(weights, [count, k, 1]);
  const width = rows.shape[2] as number;
  return tf.tidy(() =>
    tf.reshape(name === 'cpu' ? tf.matMul(column, rows) : tf.mul(column, rows), [count * k, width]),
  );
}
