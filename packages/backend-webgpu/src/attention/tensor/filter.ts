import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { kernelFamily, optional, read, write } from '../../wgsl/define-kernel.js';
import { fill } from '../../wgsl/fill.js';
import { times } from '../../wgsl/text.js';
import { COUNTERS } from '../shared/counters.js';
import { geometryUniforms, keyHeadOf, type PartGeometry, rowAt } from '../shared/geometry.js';
import { visibleOf } from '../shared/validity.js';
import { THRESHOLD_SLACK, UNBOUNDED } from './error-bound.js';
import { text } from './filter.wgsl.js';
import { loadQueries, matrixDirectives, matrixTypes, twoTiles } from './filter-products.js';
import { addRelative, relativeDeclarations, relativePrepare } from './filter-relative-bias.js';
import { thresholdText } from './filter-threshold.js';
import { QUERY_KIND } from './prepare-queries.js';
import { lengthInTables } from './score-text.js';
import {
  compareScores,
  declareMaxima,
  EMPTY,
  emitMaxima,
  hideScores,
  ROWS,
  readScores,
  TILE_WORDS,
  takeMaxima,
} from './score-tile.js';
import type { Tables } from './tables.js';

export interface FilterVariant {
  readonly headDim: number;
  readonly causal: boolean;
  readonly keyLengths: boolean;
  /** Distance from which a relative bias is constant; undefined without one. */
  readonly relativeReach?: number;
  /** Keys that a list holds; a multiple of 64. The row's group maxima are stored there first. */
  readonly capacity: number;
  /** Subgroups per workgroup: neighbours read the same keys at about the same time, which helps the cache. */
  readonly subgroups: number;
  /** For tests: plain f32 products of the same f16 numbers, so that all the rest runs on any device. */
  readonly emulated?: boolean;
}

/** Interleaved phases of the first sweep: 16 groups each, two to a word; odd, so that periodic keys spread. */
function phasesOf(capacity: number): number {
  return capacity / 8 - 1;
}

/**
 * The filter: which keys can be among the k best of a query, from f16 products in subgroup matrices (16 x 16 x 16, f32
 * sums), with nothing of size Lq x Lk stored.
 *
 * 1. Sweep 1 takes the maximum of each of 16 P groups of keys. Phase p takes tiles p, p + P, p + 2 P ... of both
 *    halves of the keys and keeps one running maximum per column of a tile: the keys of a group are far apart, so that
 *    neighbours with similar scores (clusters, sorted keys) fall into different groups. P is odd because of keys whose
 *    period is a power of two. The maxima, two f16 per word, are stored where the list will be.
 * 2. T is the rank-th largest of them, by three passes over a histogram of 16 bins: up to the error bound, at least
 *    `rank` keys score T or more. Where only every `stride`-th tile was looked at, T is an estimate. Either way T is
 *    no more than a good guess: the finish proves it.
 * 3. Sweep 2 computes the scores again and lists every key with s16 >= T - E(tile), in ascending order: every key
 *    whose score is at least T is listed (see error-bound.ts). A count above the capacity means that the list
 *    overflowed.
 *
 * A subgroup takes 32 queries, one per lane; score tiles go through 2.25 KiB of workgroup memory each. Two passes over
 * the packed keys per workgroup, longest rows first.
 */
const filterKernel = kernelFamily('tensor filter', (variant: FilterVariant) => {
  const half = variant.emulated ? 'u32' : 'f16';
  const hasTables = variant.keyLengths || variant.relativeReach !== undefined;
  return {
    uniforms: {
      ...geometryUniforms,
      tiles: 'u32',
      k: 'u32',
      rank: 'u32',
      stride: 'u32',
      sampled_from: 'u32',
      buckets_at: 'u32',
      table_at: 'u32',
    },
    buffers: {
      queries: read(half),
      units: read('vec4f'),
      keys: read(half),
      bounds: read('f32'),
      lists: write('u32'),
      heads: write('vec2u'),
      counters: read('u32'),
      tables: optional(hasTables, read('u32')),
    },
    workgroup: 32 * variant.subgroups,
    directives: variant.emulated ? [] : matrixDirectives,
    source: () => source(variant),
  };
});

/**
 * `tiles`: number of a head's key tiles. Rows that see at least `sampled_from` keys take only every `stride`-th tile;
 * `rank` is the rank in such a sample above which the k best are found. The rows of `geometry` are whole workgroups.
 */
export function recordFilter(
  stream: Stream,
  variant: FilterVariant,
  geometry: PartGeometry,
  own: Readonly<Record<'tiles' | 'k' | 'rank' | 'stride' | 'sampled_from', number>>,
  buffers: Readonly<Record<'queries' | 'units' | 'keys' | 'bounds' | 'lists' | 'heads' | 'counters', Span>>,
  tables: Tables | undefined,
): void {
  filterKernel(variant).launch(stream, {
    uniforms: {
      ...geometry,
      ...own,
      buckets_at: tables?.bucketsAt ?? 0,
      table_at: tables?.tableAt ?? 0,
    },
    buffers: { ...buffers, tables: tables?.span },
    workgroups: (geometry.heads * geometry.queries) / (ROWS * variant.subgroups),
  });
}

function source(variant: FilterVariant): string {
  const { headDim, causal, keyLengths, relativeReach, capacity, subgroups, emulated = false } = variant;
  const relative = relativeReach !== undefined;
  const phases = phasesOf(capacity);
  const takeMaximaOf = (j: number): string => `{
            ${readScores}
            ${relative ? addRelative(j) : ''}
            if (16u * tile${j} + 16u > fewest) {
              ${hideScores(`16u * tile${j}`)}
            }
            ${takeMaxima}
          }`;
  const listTile = (j: number): string => `{
      let limit = bar - bounds[bounds_at + tile${j}];
      ${readScores}
      ${relative ? addRelative(j) : ''}
      ${compareScores}
      listed.${j === 0 ? 'x' : 'y'} = mask;
    }`;
  const clampMaximum = (c: number): string => `g${c} = clamp(g${c}, ${EMPTY}.0, ${-EMPTY}.0);`;
  return `
${emulated ? '' : matrixTypes}
${rowAt}
${keyHeadOf}
var<workgroup> scores: array<f32, ${subgroups * TILE_WORDS}>;
${relative ? relativeDeclarations(relativeReach) : ''}

${visibleOf(causal, keyLengths, lengthInTables)}
${fill(text, {
  rows: ROWS * subgroups,
  last_row: ROWS * subgroups - 1,
  rows_of_subgroup: ROWS,
  tile_words: TILE_WORDS,
  tile_size: 16 * headDim,
  capacity,
  phases,
  caution: COUNTERS.caution,
  unbounded: UNBOUNDED,
  minus_unbounded: -UNBOUNDED,
  threshold_slack: THRESHOLD_SLACK,
  shift_slack: 2 ** -5,
  load_queries: loadQueries(variant),
  prepare_biases: relative ? relativePrepare(relativeReach, subgroups) : '',
  declare_maxima: declareMaxima,
  take_maxima_of_tiles: twoTiles(variant, takeMaximaOf),
  clamp_maxima: relative ? times(16, clampMaximum, ' ') : '',
  emit_maxima: emitMaxima,
  find_guess: thresholdText(8 * phases),
  list_tiles: twoTiles(variant, listTile),
  plus_far_bias: relative ? ' + far_bias' : '',
  plus_size_of_far_bias: relative ? ' + abs(far_bias)' : '',
  is_zero: relative ? 'false' : `unit.w == ${QUERY_KIND.zero}.0`,
  is_refused: relative
    ? `unit.w != ${QUERY_KIND.usual}.0 || unit.x < 1e-12 || has_odd_bias`
    : `unit.w == ${QUERY_KIND.refused}.0`,
})}`;
}
