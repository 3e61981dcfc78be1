import type { ToeplitzProductRequest } from '@topk-attention/core/backend';
import type { UniformValues } from '../wgsl/define-kernel.js';
import { type Chunk, LOG_TILE, logLanesOf, pairsOf, type Split } from './sizes.js';

/** Fields of `params` that say which numbers a workgroup transforms. */
export const seriesUniforms = {
  log_length: 'u32',
  log_total: 'u32',
  log_lanes: 'u32',
  series: 'u32',
  step: 'u32',
  first_series: 'u32',
  first_head: 'u32',
  first_sequence: 'u32',
  heads: 'u32',
  tokens: 'u32',
  columns: 'u32',
  pairs: 'u32',
} as const;

/** The axis that a pass transforms: places a whole row apart, or those of each row. */
export type Axis = 'columns' | 'rows';

/** What a launch takes beside its buffers. */
interface SeriesLaunch {
  readonly uniforms: UniformValues<typeof seriesUniforms>;
  readonly workgroups: readonly [number, number, number];
}

/** The uniforms and workgroups of a pass over a chunk. Its parts are [heads, 2^logRows, 2^logRow, series]. */
export function seriesOfPass(
  request: ToeplitzProductRequest,
  { logTotal, logRows, logRow }: Split,
  { firstHead, heads, firstSeries, series, firstSequence }: Chunk,
  axis: Axis,
  logTile: number = LOG_TILE,
): SeriesLaunch {
  const isRows = axis === 'rows';
  const logLength = isRows ? logRow : logRows;
  const step = isRows ? 1 : 2 ** logRow;
  const lanes = step * series;
  const logLanes = logLanesOf(logTile, logLength, lanes);
  return {
    uniforms: {
      ...{ log_length: logLength, log_total: logTotal, log_lanes: logLanes, series, step },
      ...{ first_series: firstSeries, first_head: firstHead, heads: request.heads },
      first_sequence: firstSequence,
      ...{ tokens: request.length, columns: request.columns, pairs: pairsOf(request) },
    },
    workgroups: [Math.ceil(lanes / 2 ** logLanes), isRows ? 2 ** logRows : 1, heads],
  };
}
