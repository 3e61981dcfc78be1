import { type Data, HEAD_DIM, HEADS } from './setup.js';

/** One output row in float64: softmax over the k largest scores (all for undefined), times V. */
function exactRow(data: Data, head: number, query: number, k: number | undefined): Float64Array {
  const { length } = data;
  const scale = HEAD_DIM ** -0.5;
  const q = data.q.subarray((head * length + query) * HEAD_DIM, (head * length + query + 1) * HEAD_DIM);
  const scores = new Float64Array(length);
  for (let key = 0; key < length; key++) {
    const from = (head * length + key) * HEAD_DIM;
    let sum = 0;
    for (let at = 0; at < HEAD_DIM; at++) sum += (q[at] as number) * (data.k[from + at] as number);
    scores[key] = sum * scale;
  }
  const keys = Uint32Array.from(scores, (_, key) => key);
  if (k !== undefined) keys.sort((a, b) => (scores[b] as number) - (scores[a] as number) || a - b);
  const kept = keys.subarray(0, k ?? length);
  const largest = kept.reduce((max, key) => Math.max(max, scores[key] as number), Number.NEGATIVE_INFINITY);
  const row = new Float64Array(HEAD_DIM);
  let total = 0;
  for (const key of kept) {
    const weight = Math.exp((scores[key] as number) - largest);
    total += weight;
    const from = (head * length + key) * HEAD_DIM;
    for (let at = 0; at < HEAD_DIM; at++)
      row[at] = (row[at] as number) + weight * (data.v[from + at] as number);
  }
  return row.map((value) => value / total);
}

/** Largest error of a few rows of [12, rows, 64] against float64; throws above the tolerance. */
export function checkRows(
  name: string,
  data: Data,
  output: Float32Array,
  queries: readonly number[],
  k: number | undefined,
): number {
  const rows = queries.length;
  let worst = 0;
  for (const [head, row] of [
    [0, 0],
    [5, rows >> 1],
    [HEADS - 1, rows - 1],
  ] as const) {
    const expected = exactRow(data, head, queries[row] as number, k);
    const from = (head * rows + row) * HEAD_DIM;
    for (let at = 0; at < HEAD_DIM; at++) {
      worst = Math.max(worst, Math.abs((output[from + at] as number) - (expected[at] as number)));
    }
  }
  if (!(worst < 1e-4)) throw new Error(`${name}: wrong result, off by ${worst} from float64`);
  return worst;
}
