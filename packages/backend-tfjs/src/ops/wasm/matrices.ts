import type { Tf, TfTensor } from '../../tf.js';

/** A bias of zeros, and the number of products that used it. */
interface Zeros {
  readonly bias: TfTensor;
  uses: number;
}

/** Most widths for which zeros are kept. */
const MOST_WIDTHS = 64;
/** The engine keeps 12 bytes for each product that uses a bias until the bias is disposed of. */
const MOST_USES = 2 ** 16;

/** By tf's engine: zeros by their number, the last used at the end. */
const known = new WeakMap<object, Map<number, Zeros>>();

/**
 * a [M, K] times b [K, N], or both as a batch of one, on the wasm engine; no transpositions.
 *
 * XNNPACK packs the second operand. The engine caches the packed form by the operand's data and the bias, but not by
 * shape: data used as [K, N] and later as [K', N'] would be multiplied as [K, N] again, beyond its end. So every
 * product gets a bias of zeros that belongs to its N. Together with the size of the data, N determines K, and the
 * caller's own products, which do not use these biases, are kept apart.
 */
export function wasmMatrices(tf: Tf, a: TfTensor, b: TfTensor): TfTensor {
  return tf.fused.matMul({ a, b, bias: zerosOf(tf, b.shape.at(-1) as number) });
}

function zerosOf(tf: Tf, width: number): TfTensor {
  const engine: object = tf.backend();
  const all = known.get(engine) ?? new Map<number, Zeros>();
  known.set(engine, all);
  const before = all.get(width);
  all.delete(width);
  if (before !== undefined && before.uses < MOST_USES) {
    before.uses++;
    all.set(width, before);
    return before.bias;
  }
  // Disposing of a bias frees what was packed for it; second operands still in use are packed again.
  before?.bias.dispose();
  const [oldest] = all;
  if (oldest !== undefined && all.size >= MOST_WIDTHS) {
    all.delete(oldest[0]);
    oldest[1].bias.dispose();
  }
  const bias = tf.keep(tf.zeros([width]));
  all.set(width, { bias, uses: 1 });
  return bias;
}
