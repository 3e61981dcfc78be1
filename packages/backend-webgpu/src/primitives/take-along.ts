import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import { recordGather } from './gather-rows.js';
import { rowsOf } from './split-rows.js';

/**
 * out[..., j] = x[..., indices[..., j]]; index -1 gives 0, any other index outside NaN. A gather of rows of one
 * element.
 */
export function recordTakeAlong(stream: Stream, x: View, indices: View, out: View): void {
  const { rows: batch, width: rows } = rowsOf(x.shape);
  recordGather(stream, x, indices, out, { batch, rows, taken: rowsOf(indices.shape).width, width: 1 });
}
