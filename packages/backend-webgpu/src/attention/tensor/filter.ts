import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { kernelFamily, optional, read, write } from '../../wgsl/define-kernel.js';
import { range } from '../../wgsl/text.js';
import { COUNTERS } from '../shared/counters.js';
import { geometryUniforms, keyHeadOf, type PartGeometry, rowAt } from '../shared/geometry.js';
import { visibleOf } from '../shared/validity.js';
import { THRESHOLD_SLACK, UNBOUNDED } from './error-bound.js';
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
  const groupWords = 8 * phases;
  return `
${emulated ? '' : matrixTypes}
${rowAt}
${keyHeadOf}
var<workgroup> scores: array<f32, ${subgroups * TILE_WORDS}>;
${relative ? relativeDeclarations(relativeReach) : ''}

${visibleOf(causal, keyLengths, lengthInTables)}
fn visible_keys(query: u32, batch: u32) -> u32 { return visible_of(Row(0u, batch, 0u, query, 0u)); }

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32,
) {
  // Not the built-in value: of this one the compiler knows the range, and leaves out checks of bounds.
  let lane = t & 31u;
  let query_tiles = params.queries / ${ROWS * subgroups}u;
  let job = group.x + group.y * groups.x;
  if (job >= params.heads * query_tiles) { return; }
  let head = job % params.heads;
  let query_tile = query_tiles - 1u - job / params.heads;
  let flat = params.first_head + head;
  let batch = flat / params.query_heads;
  let key_head = key_head_of(head);
  let subgroup = t / 32u;
  let store_at = subgroup * ${TILE_WORDS}u;
  let read_at = store_at + lane;
  let first_query = params.first_query + query_tile * ${ROWS * subgroups}u;
  let first_row = head * params.queries + query_tile * ${ROWS * subgroups}u + subgroup * ${ROWS}u;
  let row = first_row + lane;
  let last_query = min(first_query + ${ROWS * subgroups - 1}u, params.query_length - 1u);
  let visible = visible_keys(min(first_query + subgroup * ${ROWS}u + lane, last_query), batch);
  let fewest = visible_keys(first_query, batch);
  let most = visible_keys(last_query, batch);
  let unit = units[row];
  ${relative ? relativePrepare(relativeReach, subgroups) : ''}
  let list_at = row * ${capacity}u;
  let groups_at = first_row * ${capacity}u + lane;
  let k = params.k;
  let bounds_at = key_head * params.tiles;
  let keys_at = bounds_at * ${16 * headDim}u;
  ${loadQueries(variant)}
  let steps = (most + 31u) / 32u;
  var bar = ${-UNBOUNDED};
  if (most > ${capacity}u) {
    let sampled = most >= params.sampled_from && counters[${COUNTERS.caution}] == 0u;
    let stride = select(1u, params.stride, sampled);
    let sweep_steps = select(steps, most / (32u * params.stride), sampled);
    let rank = f32(select(k, params.rank, sampled));
    var low = 1e30;
    var high = -1e30;
    var bound_sum = 0.0;
    for (var phase = 0u; phase < ${phases}u; phase++) {
      ${declareMaxima}
      for (var step = phase; step < sweep_steps; step += ${phases}u) {
        let tile0 = step * stride;
        let tile1 = (step + sweep_steps) * stride;
        let bound0 = bounds[bounds_at + tile0];
        let bound1 = bounds[bounds_at + tile1];
        bound_sum += select(bound0, 0.0, bound0 >= ${UNBOUNDED}) + select(bound1, 0.0, bound1 >= ${UNBOUNDED});
        ${twoTiles(
          variant,
          (j) => `{
            ${readScores}
            ${relative ? addRelative(j) : ''}
            if (16u * tile${j} + 16u > fewest) {
              ${hideScores(`16u * tile${j}`)}
            }
            ${takeMaxima}
          }`,
        )}
      }
      let at = groups_at + phase * 256u;
      ${
        relative
          ? range(16)
              .map((c) => `g${c} = clamp(g${c}, ${EMPTY}.0, ${-EMPTY}.0);`)
              .join(' ')
          : ''
      }
      ${emitMaxima}
    }
    ${thresholdText(groupWords)}
    bar = guess - bound_sum / f32(2u * max(sweep_steps, 1u));
    if (!enough) { bar = ${-UNBOUNDED}; }
  }
  // Lists overwrite the maxima of other lanes.
  storageBarrier();
  workgroupBarrier();

  let is_zero = ${relative ? 'false' : `unit.w == ${QUERY_KIND.zero}.0`};
  let room = select(${capacity}u, k, is_zero);
  var count = 0u;
  for (var step = 0u; step < steps; step++) {
    let tile0 = 2u * step;
    let tile1 = tile0 + 1u;
    var listed = vec2u();
    ${twoTiles(
      variant,
      (j) => `{
      let limit = bar - bounds[bounds_at + tile${j}];
      ${readScores}
      ${relative ? addRelative(j) : ''}
      ${compareScores}
      listed.${j === 0 ? 'x' : 'y'} = mask;
    }`,
    )}
    // In one word, key i of the 32 as bit 31 - i: see \`keyOfColumn\`.
    let high = (listed.x & 0xff000000u) | ((listed.x & 0xff00u) << 8u);
    var found = high | ((listed.y & 0xff000000u) >> 16u) | ((listed.y & 0xff00u) >> 8u);
    if (32u * step + 32u > fewest) {
      let inside = i32(visible) - i32(32u * step);
      found &= ~select(0xffffffffu >> u32(clamp(inside, 0, 31)), 0u, inside >= 32);
    }
    if (count > room) { found = 0u; }
    while (found != 0u) {
      let bit = firstLeadingBit(found);
      found &= ~(1u << bit);
      if (count < room) { lists[list_at + count] = 32u * step + 31u - bit; }
      count++;
    }
  }
  let above_shift = bar * unit.x;
  let shift = unit.y${relative ? ' + far_bias' : ''};
  let doubt = unit.z + ${THRESHOLD_SLACK} * (abs(above_shift) + ${2 ** -5} * (abs(unit.y)${relative ? ' + abs(far_bias)' : ''}));
  var threshold_bits = bitcast<u32>(above_shift + shift + doubt);
  if (bar <= ${-UNBOUNDED}) { threshold_bits = 0xff800000u; }
  if (is_zero) { // scores 0 everywhere: its first k keys are its best
    count = min(count, k);
    threshold_bits = select(0u, 0xff800000u, count < k);
  }
  if (unit.w ${relative ? `!= ${QUERY_KIND.usual}.0 || unit.x < 1e-12 || has_odd_bias` : `== ${QUERY_KIND.refused}.0`}) { count = 0xffffffffu; }
  heads[row] = vec2u(count, threshold_bits);
}`;
}
