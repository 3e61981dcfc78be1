import type { AttentionRequest } from '@topk-attention/core/backend';
import type { Group } from '../layout/groups.js';

/** Consecutive queries of one query head. */
export interface HeadRun {
  /** Counted over batch and query heads. */
  readonly head: number;
  readonly firstQuery: number;
  /** Counted over all heads. */
  readonly firstRow: number;
  readonly rows: number;
}

/** The rows of a group by query head, at most `most` at a time. */
export function headRuns(request: AttentionRequest, group: Group, most: number): HeadRun[] {
  const { queryLength } = request;
  const runs: HeadRun[] = [];
  const end = group.firstRow + group.units * group.rowsPerUnit;
  for (let row = group.firstRow; row < end; ) {
    const head = Math.floor(row / queryLength);
    const rows = Math.min(end, (head + 1) * queryLength, row + most) - row;
    runs.push({ head, firstQuery: row % queryLength, firstRow: row, rows });
    row += rows;
  }
  return runs;
}
