import type { Tf, TfTensor } from '../tf.js';
import { type DoctorProblem, error, warning } from './problems.js';

/** More than 1,000 elements: tf's GPU engines compute smaller tensors on the CPU. */
const ROWS = 32;
const COLUMNS = 40;
const KEPT = 5;

/**
 * Compares a product and a selection on the running engine with plain JavaScript, and returns what is wrong with them.
 */
export async function tryOut(tf: Tf, engine: string): Promise<DoctorProblem | undefined> {
  // Whole numbers, whose products and sums are exact in any order, even with 11 bits per factor.
  const x = Float32Array.from({ length: ROWS * COLUMNS }, (_, index) => ((index * 37) % 101) - 50);
  const product = productOfRows(x);
  // These need 13 bits: hardware that takes factors of 16 or 19 bits rounds them.
  const fine = Float32Array.from({ length: ROWS * ROWS }, (_, index) => 4097 + 2 * (index % 2000));
  try {
    const [scores, values, copied] = await read(tf, () => {
      const input = tf.tensor2d(x, [ROWS, COLUMNS]);
      const all = tf.matMul(input, input, false, true);
      return [all, tf.topk(all, KEPT).values, tf.matMul(tf.tensor2d(fine, [ROWS, ROWS]), tf.eye(ROWS))];
    });
    const report =
      'Update the driver or the browser, or use another engine; please report it with this report';
    const rounding = Math.max(farthest(scores, product), farthest(copied, fine));
    if (rounding > 0.01)
      return error('WRONG_RESULT', `the engine '${engine}' computed a wrong product`, report);
    if (farthest(values, largestOf(scores)) > 0)
      return error('WRONG_RESULT', `the engine '${engine}' computed a wrong selection`, report);
    if (rounding === 0) return undefined;
    return warning(
      'LOW_PRECISION',
      `products round their factors to fewer than 24 bits (${rounding.toExponential(1)} off): other keys may be kept`,
      'On CUDA set the environment variable NVIDIA_TF32_OVERRIDE=0; elsewhere use another engine',
    );
  } catch (cause) {
    return failure(engine, cause);
  }
}

function failure(engine: string, cause: unknown): DoctorProblem {
  const message = cause instanceof Error ? cause.message : String(cause);
  if (message.includes('isNullOrUndefined')) {
    return error(
      'NODE_UTIL',
      'tfjs-node 4.22 calls util.isNullOrUndefined, which Node 23 and later do not have',
      "Define it before tfjs-node is loaded: require('node:util').isNullOrUndefined ??= (value) => value == null; or use Node 20 or 22",
    );
  }
  return error('ENGINE_FAILURE', `the engine '${engine}' does not compute: ${message}`, 'Use another engine');
}

async function read(tf: Tf, make: () => TfTensor[]): Promise<ArrayLike<number>[]> {
  const results = tf.tidy(make);
  try {
    return await Promise.all(results.map((result) => result.data()));
  } finally {
    tf.dispose(results);
  }
}

/** Products of each row of x [ROWS, COLUMNS] with each row. */
function productOfRows(x: Float32Array): Float32Array {
  return Float32Array.from({ length: ROWS * ROWS }, (_, index) => {
    const [a, b] = [Math.floor(index / ROWS) * COLUMNS, (index % ROWS) * COLUMNS];
    let sum = 0;
    for (let column = 0; column < COLUMNS; column++) sum += (x[a + column] ?? 0) * (x[b + column] ?? 0);
    return sum;
  });
}

/** The largest scores of each row of [ROWS, ROWS], descending. */
function largestOf(scores: ArrayLike<number> | undefined): number[] {
  const all = Array.from(scores ?? []);
  const largest: number[] = [];
  for (let row = 0; row < ROWS; row++) {
    const own = all.slice(row * ROWS, (row + 1) * ROWS);
    largest.push(...own.sort((a, b) => b - a).slice(0, KEPT));
  }
  return largest;
}

/** The largest error relative to the largest number; infinite where a number is missing or NaN. */
function farthest(got: ArrayLike<number> | undefined, wanted: ArrayLike<number>): number {
  if (got?.length !== wanted.length) return Number.POSITIVE_INFINITY;
  let most = 0;
  let scale = 1;
  for (let index = 0; index < wanted.length; index++) {
    const right = wanted[index] ?? 0;
    const off = Math.abs((got[index] ?? Number.NaN) - right);
    if (Number.isNaN(off)) return Number.POSITIVE_INFINITY;
    most = Math.max(most, off);
    scale = Math.max(scale, Math.abs(right));
  }
  return most / scale;
}
