import type { ToeplitzProductRequest } from '@topk-attention/core/backend';
import type { UniformValues } from '../wgsl/define-kernel.js';
import { type Chunk, LOG_TILE, logLanesOf, pairsOf, type Split } from './sizes.js';

/** Fields of `params` that say which numbers a workgroup transforms. */
export const seriesUniforms = {
  log_length: 'u32',
  log_total: 'u32',
  log_lanes: 'u32',
  rows: 'u32',
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

/** How a pass goes over a chunk. */
interface PassForm {
  readonly axis: Axis;
  /** Logarithm of what it has room for in workgroup memory. Default: the whole tile. */
  readonly logTile?: number;
  /** Whether a workgroup keeps to one row, as its sums do. Default false: few series of several rows share one. */
  readonly isRowByRow?: boolean;
}

/** The uniforms and workgroups of a pass over a chunk. Its parts are [heads, 2^logRows, 2^logRow, series]. */
export function seriesOfPass(
  request: ToeplitzProductRequest,
  { logTotal, logRows, logRow }: Split,
  { firstHead, heads, firstSeries, series, firstSequence }: Chunk,
  { axis, logTile = LOG_TILE, isRowByRow = false }: PassForm,
): SeriesLaunch {
  const isRows = axis === 'rows';
  const logLength = isRows ? logRow : logRows;
  const step = isRows ? 1 : 2 ** logRow;
  const all = isRows ? 2 ** logRows : 1;
  const rows = isRowByRow ? 1 : all;
  const lanes = rows * step * series;
  const logLanes = logLanesOf(logTile, logLength, lanes);
  return {
    uniforms: {
      ...{ log_length: logLength, log_total: logTotal, log_lanes: logLanes, rows, series, step },
      ...{ first_series: firstSeries, first_head: firstHead, first_sequence: firstSequence },
      ...{ heads: request.heads, tokens: request.length },
      ...{ columns: request.columns, pairs: pairsOf(request) },
    },
    workgroups: [Math.ceil(lanes / 2 ** logLanes), all / rows, heads],
  };
}
