import { createWebGpuBackend } from '@topk-attention/webgpu';
import { AttentionCase } from './attention-case.js';
import { readElements } from './data.js';
import { DAWN_OPTIONS } from './dawn-options.js';
import { exactRow, isRightSet } from './oracle.js';
import type { TableSizes } from './table-rows.js';

/** How the kept sets of all rows of one length compare with those of the stored-score path. */
export interface Comparison {
  readonly length: number;
  readonly rows: number;
  /** Rows whose sets differ. */
  readonly different: number;
  /** Rows that differ by more than rounding allows. */
  readonly wrong: number;
}

/** Up to this many differing rows are checked in f64; the others count as wrong. */
const MOST_CHECKED = 400;

/** Compares every index list of one length with that of the stored-score path, which core composes from primitives. */
export async function compareWithStored(
  sizes: TableSizes,
  length: number,
  own: Int32Array,
): Promise<Comparison> {
  const backend = await createWebGpuBackend({
    dawnOptions: DAWN_OPTIONS.plain,
    fused: false,
    onWarning: () => {},
  });
  try {
    const { heads, dim, k } = sizes;
    const one = await AttentionCase.make(backend, {
      ...{ heads, length, dim, k },
      ...{ causal: true, dtype: 'f32', isClustered: false },
    });
    const lists = one.lists();
    const stored = (await readElements(backend, lists, 0, lists.size)) as Int32Array;
    lists.dispose();
    const slots = Math.min(k, length);
    const rows = differentRows(stored, own, slots);
    let wrong = Math.max(0, rows.length - MOST_CHECKED);
    let head = -1;
    let arrays: Awaited<ReturnType<AttentionCase['head']>> | undefined;
    for (const row of rows.slice(0, MOST_CHECKED)) {
      const ofHead = Math.floor(row / length);
      if (arrays === undefined || ofHead !== head) arrays = await one.head(ofHead);
      head = ofHead;
      const query = row % length;
      const vector = Array.from({ length: dim }, (_, d) => arrays?.q[query * dim + d] as number);
      const exact = exactRow(arrays, vector, query + 1, slots);
      const kept = Array.from(own.subarray(row * slots, (row + 1) * slots)).filter((key) => key >= 0);
      // Both are sums of 64 products of size one; 8 is the usual |q| |k| / sqrt(D).
      if (!isRightSet(exact, kept, 8)) wrong++;
    }
    one.dispose();
    return { length, rows: heads * length, different: rows.length, wrong };
  } finally {
    await backend.dispose();
  }
}

/** Kept keys are in ascending order in both, so equal sets are equal lists. */
function differentRows(a: Int32Array, b: Int32Array, slots: number): readonly number[] {
  const rows: number[] = [];
  if (a.length !== b.length) throw new Error(`lists of ${a.length} and ${b.length} entries`);
  for (let at = 0; at < a.length; at++) {
    if (a[at] === b[at]) continue;
    const row = Math.floor(at / slots);
    rows.push(row);
    at = (row + 1) * slots - 1;
  }
  return rows;
}
