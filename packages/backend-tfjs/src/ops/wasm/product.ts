import type { Engine } from '../../engine/engine.js';
import type { TfTensor } from '../../tf.js';
import { wasmMatrices } from './matrices.js';
import { takePieces } from './slice.js';

// Nanoseconds on one thread: to transpose an element, to pack one of the second operand, per multiply-add of XNNPACK
// and of the plain loops, and per further call.
const TRANSPOSED = 4;
const PACKED = 1;
const FAST = 0.06;
const PLAIN = 0.83;
const CALL = 20_000;

/**
 * tf.matMul of two matrices, or of two batches of them. The wasm engine hands a product to XNNPACK where both operands
 * are single matrices in row order (33 GFLOP/s), and runs plain loops otherwise (2.4): so batches go one by one, and
 * operands are transposed first, where that pays.
 */
export function wasmProduct(
  { tf }: Engine,
  a: TfTensor,
  b: TfTensor,
  transposeA: boolean,
  transposeB: boolean,
): TfTensor {
  const batch = a.rank === 2 ? 1 : (a.shape[0] ?? 1);
  if (batch === 1 && !transposeA && !transposeB) return wasmMatrices(tf, a, b);
  const [aRows = 1, aColumns = 1] = a.shape.slice(-2);
  const [rows, inner] = transposeA ? [aColumns, aRows] : [aRows, aColumns];
  const columns = b.size / batch / inner;
  const plain = PLAIN * rows * inner * columns;
  const moved = TRANSPOSED * ((transposeA ? rows : 0) + (transposeB ? columns : 0)) * inner;
  const fast = FAST * rows * inner * columns + moved + PACKED * inner * columns + (batch > 1 ? CALL : 0);
  if (fast > plain) return tf.matMul(a, b, transposeA, transposeB);
  return tf.tidy(() => {
    const aRowOrder = transposeA ? tf.transpose(a, a.rank === 2 ? [1, 0] : [0, 2, 1]) : a;
    const bRowOrder = transposeB ? tf.transpose(b, b.rank === 2 ? [1, 0] : [0, 2, 1]) : b;
    if (batch === 1) {
      // The transposition of a single row or column is a view; the data of a copy is in no other product.
      return bRowOrder.dataId === b.dataId
        ? wasmMatrices(tf, aRowOrder, bRowOrder)
        : tf.matMul(aRowOrder, bRowOrder);
    }
    const products: TfTensor[] = [];
    for (let index = 0; index < batch; index++) {
      products.push(
        tf.tidy(() => {
          const own = tf.reshape(takePieces(tf, aRowOrder, batch, [index]), [rows, inner]);
          const other = tf.reshape(takePieces(tf, bRowOrder, batch, [index]), [inner, columns]);
          return tf.matMul(own, other);
        }),
      );
    }
    return tf.reshape(tf.concat(products, 0), [batch, rows, columns]);
  });
}
