import { TopKError } from '@topk-attention/core';
import type { Measurement } from './measure.js';

/** How far the outputs of two models are apart. */
export interface Comparison {
  readonly largestDifference: number;
  /** The smallest of all rows' cosines; a row is the last axis. */
  readonly cosine: number;
  /** The part of all rows whose largest entry is at the same place. */
  readonly sameLargest: number;
}

/** @throws TopKError OUTPUTS_DIFFER where the second lacks an output or has it in another shape. */
export function compare(a: Measurement['outputs'], b: Measurement['outputs']): Comparison {
  let largestDifference = 0;
  let cosine = 1;
  let [rows, same] = [0, 0];
  for (const [name, { dims, values }] of Object.entries(a)) {
    const other = b[name];
    if (other === undefined || `${other.dims}` !== `${dims}`) {
      throw new TopKError('OUTPUTS_DIFFER', `verify: the models differ in output ${name}`, {
        expected: `shape [${dims}]`,
        got: other === undefined ? `outputs ${Object.keys(b).join(', ')}` : `shape [${other.dims}]`,
      });
    }
    const width = dims.at(-1) || 1;
    for (let start = 0; start < values.length; start += width) {
      const row = compareRows(
        values.subarray(start, start + width),
        other.values.subarray(start, start + width),
      );
      largestDifference = Math.max(largestDifference, row.difference);
      cosine = Math.min(cosine, row.cosine);
      if (row.isSame) same++;
      rows++;
    }
  }
  return { largestDifference, cosine, sameLargest: rows === 0 ? 1 : same / rows };
}

function compareRows(
  a: Float32Array,
  b: Float32Array,
): { readonly difference: number; readonly cosine: number; readonly isSame: boolean } {
  let [dot, ofA, ofB, difference, bestA, bestB] = [0, 0, 0, 0, 0, 0];
  for (let at = 0; at < a.length; at++) {
    const [x, y] = [a[at] as number, b[at] as number];
    const isSame = x === y || (Number.isNaN(x) && Number.isNaN(y));
    if (isSame && !Number.isFinite(x)) continue;
    const gap = Math.abs(x - y);
    difference = Math.max(difference, Number.isNaN(gap) ? Number.POSITIVE_INFINITY : gap);
    dot += x * y;
    ofA += x * x;
    ofB += y * y;
    if (x > (a[bestA] as number)) bestA = at;
    if (y > (b[bestB] as number)) bestB = at;
  }
  const size = Math.sqrt(ofA * ofB);
  const cosine = size === 0 ? (ofA === ofB ? 1 : 0) : Math.min(1, dot / size);
  return { difference, cosine: Number.isNaN(cosine) ? -1 : cosine, isSame: bestA === bestB };
}
