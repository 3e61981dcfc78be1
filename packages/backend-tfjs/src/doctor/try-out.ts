import type { Tf } from '../tf.js';
import { type DoctorProblem, error } from './problems.js';

/** Above 1,000 elements: tfjs's GPU engines compute what is smaller on the CPU. */
const ROWS = 32;
const COLUMNS = 40;
const KEPT = 5;

/** A product and a selection on the running engine, compared with plain JavaScript; what is wrong with them. */
export async function tryOut(tf: Tf, engine: string): Promise<DoctorProblem | undefined> {
  const x = Float32Array.from({ length: ROWS * COLUMNS }, (_, index) => ((index * 37) % 101) - 50);
  const at = (row: number, column: number): number => x[row * COLUMNS + column] ?? 0;
  // Whole numbers, which every order of summation gives exactly.
  const product = Float32Array.from({ length: ROWS * ROWS }, (_, index) => {
    let sum = 0;
    for (let column = 0; column < COLUMNS; column++)
      sum += at(Math.floor(index / ROWS), column) * at(index % ROWS, column);
    return sum;
  });
  const largest: number[] = [];
  for (let row = 0; row < ROWS; row++) {
    const scores = product.slice(row * ROWS, (row + 1) * ROWS);
    largest.push(...scores.sort((a, b) => b - a).slice(0, KEPT));
  }
  try {
    const results = tf.tidy(() => {
      const input = tf.tensor2d(x, [ROWS, COLUMNS]);
      const scores = tf.matMul(input, input, false, true);
      return [scores, tf.topk(scores, KEPT).values];
    });
    try {
      const [scores, values] = await Promise.all(results.map((result) => result.data()));
      if (same(scores, product) && same(values, largest)) return undefined;
      return error(
        'WRONG_RESULT',
        `the engine '${engine}' computed a wrong ${same(scores, product) ? 'selection' : 'product'}`,
        'Update the driver or the browser, or use another engine; please report it with this report',
      );
    } finally {
      tf.dispose(results);
    }
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    if (message.includes('isNullOrUndefined')) {
      return error(
        'NODE_UTIL',
        'tfjs-node 4.22 calls util.isNullOrUndefined, which Node 23 and later do not have',
        "Define it before tfjs-node is loaded: require('node:util').isNullOrUndefined ??= (value) => value == null; or use Node 20 or 22",
      );
    }
    return error(
      'ENGINE_FAILURE',
      `the engine '${engine}' does not compute: ${message}`,
      'Use another engine',
    );
  }
}

function same(got: ArrayLike<number> | undefined, wanted: ArrayLike<number>): boolean {
  return got?.length === wanted.length && Array.from(got).every((value, index) => value === wanted[index]);
}
