import type { Tf, TfTensor } from '../tf.js';

/** A bias of zeros, and how many products had it. */
interface Zeros {
  readonly bias: TfTensor;
  uses: number;
}

/** Most widths whose zeros are kept. */
const MOST_WIDTHS = 64;
/** The engine notes 12 bytes for each product that a bias takes part in, until the bias is disposed of. */
const MOST_USES = 2 ** 16;

/** By tf's engine: zeros by their number, those used last at the end. */
const known = new WeakMap<object, Map<number, Zeros>>();

/**
 * a [M, K] times b [K, N], or both as a batch of one, on the wasm engine; no transpositions.
 *
 * XNNPACK packs the second operand, and the engine keeps what it packed under the names of that operand's data and of the
 * bias, without its shape: the same data as [K', N'] was multiplied as [K, N] before, and read beyond its end. So every
 * product has a bias of zeros that belongs to its N. With the size of the data, N tells K, and a tf.matMul of the
 * caller's, which has no bias of ours, meets none of our products.
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
  // With its bias goes what was packed for it; the second operands in use are packed once more.
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
