import type { Engine } from '../engine/engine.js';
import type { TfTensor } from '../tf.js';
import { slice } from './layout.js';
import { sum, TERMS_IN_A_ROW } from './reduce.js';

/** Most terms of an element of a product that are added to one sum: equal terms are then off by 4e-5. */
const LONGEST = 4096;
/**
 * The same, off by 2e-4, where few rows meet large weights: cutting the weights copies them and, on wasm, packs them
 * again for each product (8,192 x 768 and 4 rows: 2.5 ms in one, 40 in parts).
 */
const LONGEST_OF_FEW_ROWS = 32_768;
const FEW_ROWS = 32;
const LARGE = 2 ** 20;

/** Whether a product [rows, inner] x [inner, columns] should be cut into parts. */
export function isLong(rows: number, inner: number, columns: number): boolean {
  const isCostly = rows < FEW_ROWS && inner * columns >= LARGE;
  return inner > (isCostly ? LONGEST_OF_FEW_ROWS : LONGEST);
}

/** Most elements of the parts of a result that exist at a time. */
const PARTS = 2 ** 22;

type Product = (a: TfTensor, b: TfTensor, transposeA: boolean, transposeB: boolean) => TfTensor;

/**
 * A product of matrices [M, K] and [K, N], or of batches of them, with a long K, for engines that add all terms of an
 * element to one f32. K is cut into parts, whose products are added as `sum` does it.
 */
export function longProduct(
  engine: Engine,
  a: TfTensor,
  b: TfTensor,
  transposeA: boolean,
  transposeB: boolean,
  product: Product,
): TfTensor {
  const { tf } = engine;
  const batch = a.rank === 2 ? 1 : (a.shape[0] ?? 1);
  const as3 = (x: TfTensor): TfTensor => tf.reshape(x, [batch, ...x.shape.slice(-2)]);
  const [left, right] = [as3(a), as3(b)];
  const [aAxis, bAxis] = [transposeA ? 1 : 2, transposeB ? 2 : 1] as const;
  const inner = left.shape[aAxis] as number;
  const rows = left.shape[3 - aAxis] as number;
  const columns = right.shape[3 - bAxis] as number;
  const size = Math.ceil(inner / Math.ceil(inner / TERMS_IN_A_ROW));
  const most = Math.max(1, Math.floor(PARTS / (batch * rows * columns)));
  return tf.tidy(() => {
    let total: TfTensor | undefined;
    for (let from = 0; from < inner; ) {
      const whole = Math.floor((inner - from) / size);
      const count = Math.max(1, Math.min(whole, most));
      const length = Math.min(count * size, inner - from);
      const before = total;
      total = tf.tidy(() => {
        const parts = product(
          partsOf(engine, left, aAxis, from, length, count),
          partsOf(engine, right, bAxis, from, length, count),
          transposeA,
          transposeB,
        );
        const own = sum(engine, tf.reshape(parts, [batch, count, rows * columns]), [1]);
        return before === undefined ? own : tf.add(before, own);
      });
      before?.dispose();
      from += length;
    }
    return tf.reshape(total as TfTensor, a.rank === 2 ? [rows, columns] : [batch, rows, columns]);
  });
}

/** `length` elements of the axis, starting at `from`, as `count` parts: [batch * count, ...]. */
function partsOf(
  engine: Engine,
  x: TfTensor,
  axis: 1 | 2,
  from: number,
  length: number,
  count: number,
): TfTensor {
  const { tf } = engine;
  const [batch = 1, height = 1, width = 1] = x.shape;
  const size = length / count;
  if (axis === 1) {
    const own = slice(engine, x, [0, from, 0], [batch, length, width]);
    return tf.reshape(own, [batch * count, size, width]);
  }
  const own = tf.reshape(slice(engine, x, [0, 0, from], [batch, height, length]), [
    batch,
    height,
    count,
    size,
  ]);
  const moved = height === 1 ? own : tf.transpose(own, [0, 2, 1, 3]);
  return tf.reshape(moved, [batch * count, height, size]);
}
