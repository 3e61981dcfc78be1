import type { Kernel } from '../../runtime/kernel.js';
import { COUNTERS } from './candidates.js';
import { bindings } from './score-text.js';
import { THRESHOLD_SLACK, UNBOUNDED } from './error-bound.js';
import { QUERY_KIND } from './prepare.js';
import {
  compareScores,
  declareMaxima,
  EMPTY,
  emitMaxima,
  hideScores,
  keyOfColumn,
  readScores,
  storeOne,
  storeProducts,
  TILE_WORDS,
  takeMaxima,
} from './score-tile.js';
import { range } from '../shared/text.js';

export interface FilterVariant {
  readonly headDim: number;
  readonly causal: boolean;
  readonly keyLengths: boolean;
  /** Distance from which a relative bias is constant; undefined without one. */
  readonly relativeReach?: number;
  /** Keys that a list holds; a multiple of 64. It also holds the row's group maxima before. */
  readonly capacity: number;
  /** Subgroups of a workgroup: neighbours read the same keys at about the same time, which the cache likes. */
  readonly subgroups: number;
  /** For tests: plain f32 products of the same f16 numbers, so that all the rest runs on any device. */
  readonly emulated?: boolean;
}

/** Queries of a subgroup: one per lane. */
const ROWS = 32;
const BINS = 16;
const PASSES = 3;
/** Words of group maxima that a lane loads at a time. */
const WORDS_AT_ONCE = 8;

export function rowsPerWorkgroup({ subgroups }: FilterVariant): number {
  return ROWS * subgroups;
}

/** Interleaved phases of the first sweep: 16 groups each, two to a word; odd, so that periodic keys spread. */
function phasesOf(capacity: number): number {
  return capacity / 8 - 1;
}

/**
 * The filter: which keys can be among the k best of a query, from f16 products in subgroup matrices (16 x 16 x 16,
 * f32 sums), nothing of size Lq x Lk stored.
 *
 * 1. Sweep 1 takes the maximum of each of 16 P groups of keys. Phase p takes tiles p, p + P, p + 2 P ... of both halves of
 *    the keys and keeps one running maximum per column of a tile: the keys of a group are far apart, so that neighbours
 *    that score alike (clusters, sorted keys) fall into different groups. P is odd for keys with a period of a power of two. The
 *    maxima, two f16 to a word, lie where the list will lie.
 * 2. T is the rank-th largest of them, by three passes over a histogram of 16 bins: at least so many keys score T or
 *    more, short of the error bound. Where only every `stride`-th tile was looked at, T is an estimate. Either way T is
 *    no more than a good guess: the finish proves it.
 * 3. Sweep 2 computes the scores again and lists every key with s16 >= T - E(tile), in ascending order: every key whose
 *    score is at least T is listed (see error-bound.ts). A count above the capacity tells that it overflowed.
 *
 * A subgroup takes 32 queries, one a lane; score tiles go through 2.25 KiB of workgroup memory each. Two passes over
 * the packed keys per workgroup, longest rows first.
 */
export function filter(variant: FilterVariant): Kernel {
  const { headDim, causal, keyLengths, relativeReach, capacity, subgroups, emulated = false } = variant;
  const halves = emulated ? 'array<u32>' : 'array<f16>';
  const relative = relativeReach !== undefined;
  const tables = keyLengths || relative;
  const phases = phasesOf(capacity);
  const groupWords = 8 * phases;
  const flags = [
    emulated && 'emulated',
    causal && 'causal',
    keyLengths && 'keyLengths',
    relative && `relative ${relativeReach}`,
  ]
    .filter(Boolean)
    .join(' ');
  return {
    key: `tensor filter d${headDim} c${capacity} s${subgroups} ${flags}`,
    buffers: [
      'read',
      'read',
      'read',
      'read',
      'write',
      'write',
      'read',
      ...(tables ? (['read'] as const) : []),
    ],
    source: () => `
${emulated ? '' : matrixHeader}
struct Params {
  heads: u32, head_start: u32, query_start: u32, query_count: u32,
  query_length: u32, key_length: u32, query_heads: u32, heads_per_key_head: u32,
  key_head_start: u32, tiles: u32, k: u32, rank: u32,
  stride: u32, stride_from: u32, buckets_at: u32, table_at: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
${bindings([
  ['queries', 'read', halves],
  ['units', 'read', 'array<vec4f>'],
  ['keys', 'read', halves],
  ['bounds', 'read', 'array<f32>'],
  ['lists', 'read_write', 'array<u32>'],
  ['heads', 'read_write', 'array<vec2u>'],
  ['counters', 'read', 'array<u32>'],
  ...(tables ? ([['tables', 'read', 'array<u32>']] as const) : []),
])}
var<workgroup> scores: array<f32, ${subgroups * TILE_WORDS}>;
${relative ? relativeDeclarations(relativeReach) : ''}

fn visible_keys(query: u32, batch: u32) -> u32 {
  var visible = i32(params.key_length);
  ${causal ? 'visible = min(visible, i32(query + 1u + params.key_length) - i32(params.query_length));' : ''}
  ${keyLengths ? 'visible = min(visible, bitcast<i32>(tables[batch]));' : ''}
  return u32(max(visible, 0));
}

@compute @workgroup_size(${32 * subgroups})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32,
) {
  // Not the built-in value: of this one the compiler knows the range, and leaves out checks of bounds.
  let lane = t & 31u;
  let query_tiles = params.query_count / ${ROWS * subgroups}u;
  let job = group.x + group.y * groups.x;
  if (job >= params.heads * query_tiles) { return; }
  let head = job % params.heads;
  let query_tile = query_tiles - 1u - job / params.heads;
  let flat = params.head_start + head;
  let batch = flat / params.query_heads;
  let key_head = flat / params.heads_per_key_head - params.key_head_start;
  let subgroup = t / 32u;
  let store_at = subgroup * ${TILE_WORDS}u;
  let read_at = store_at + lane;
  let first_query = params.query_start + query_tile * ${ROWS * subgroups}u;
  let first_row = head * params.query_count + query_tile * ${ROWS * subgroups}u + subgroup * ${ROWS}u;
  let row = first_row + lane;
  let last_query = min(first_query + ${ROWS * subgroups - 1}u, params.query_length - 1u);
  let visible = visible_keys(min(first_query + subgroup * ${ROWS}u + lane, last_query), batch);
  let fewest = visible_keys(first_query, batch);
  let most = visible_keys(last_query, batch);
  let unit = units[row];
  ${relative ? relativePrepare(relativeReach, subgroups) : ''}
  let list_at = row * ${capacity}u;
  let groups_at = first_row * ${capacity}u + lane;
  let keys_at = key_head * params.tiles * ${16 * headDim}u;
  let bounds_at = key_head * params.tiles;
  ${loadQueries(variant)}
  let steps = (most + 31u) / 32u;
  var bar = ${-UNBOUNDED};
  if (most > ${capacity}u) {
    let sampled = most >= params.stride_from && counters[${COUNTERS.caution}] == 0u;
    let stride = select(1u, params.stride, sampled);
    let sweep_steps = select(steps, most / (32u * params.stride), sampled);
    let rank = f32(select(params.k, params.rank, sampled));
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
  let room = select(${capacity}u, params.k, is_zero);
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
    count = min(count, params.k);
    threshold_bits = select(0u, 0xff800000u, count < params.k);
  }
  if (unit.w ${relative ? `!= ${QUERY_KIND.usual}.0 || unit.x < 1e-12 || has_odd_bias` : `== ${QUERY_KIND.refused}.0`}) { count = 0xffffffffu; }
  heads[row] = vec2u(count, threshold_bits);
}`,
  };
}

/**
 * A relative bias, by distance, less that of keys far before the query, where most keys are: they need nothing added, and
 * the threshold moves by `far_bias`. In the filter's units a bias is divided by the row's unit; it is rounded upwards by
 * more than any sum with it errs, so that what it lists is what it should.
 */
function relativeDeclarations(reach: number): string {
  return `var<workgroup> biases: array<f32, ${2 * reach + 1}>;
var<workgroup> odd_biases: atomic<u32>;
var<workgroup> odd_found: u32;
const REACH = ${reach};`;
}

function relativePrepare(reach: number, subgroups: number): string {
  return `if (t == 0u) { atomicStore(&odd_biases, 0u); }
  workgroupBarrier();
  for (var i = t; i < ${2 * reach + 1}u; i += ${32 * subgroups}u) {
    let bias = tables[params.table_at + tables[params.buckets_at + i] * params.query_heads + flat % params.query_heads];
    biases[i] = bitcast<f32>(bias);
    if ((bias & 0x7fffffffu) > 0x49742400u) { atomicStore(&odd_biases, 1u); } // above 1e6, infinite or NaN
  }
  workgroupBarrier();
  if (t == 0u) { odd_found = atomicLoad(&odd_biases); }
  let has_odd_bias = workgroupUniformLoad(&odd_found) != 0u;
  let far_bias = biases[0];
  let per_unit_bias = 1.0 / max(unit.x, 1e-30);
  let position = i32(min(first_query + subgroup * ${ROWS}u + lane, last_query) + params.key_length) - i32(params.query_length);
  let near_from = max(0, i32(first_query + params.key_length) - i32(params.query_length) - ${reach + 15});`;
}

function addRelative(j: number): string {
  return `if (i32(16u * tile${j}) >= near_from) {
        ${range(16)
          .map(
            (c) => `{
          let apart = i32(16u * tile${j} + ${keyOfColumn(c)}u) - position;
          let bias = (biases[u32(clamp(apart + REACH, 0, 2 * REACH))] - far_bias) * per_unit_bias;
          x${c} += bias + ${2 ** -20} * abs(bias);
        }`,
          )
          .join('\n        ')}
      }`;
}

const matrixHeader = `enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, subgroup_uniformity);
diagnostic(off, chromium.subgroup_matrix_uniformity);
alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;`;

/** The queries of the subgroup, loaded once. */
function loadQueries({ headDim, emulated = false }: FilterVariant): string {
  if (emulated) return '';
  return range(headDim / 16)
    .flatMap((i) =>
      [0, 1].map((m) => {
        const at = `first_row * ${headDim}u + ${16 * m * headDim + 16 * i}u`;
        return `let a${m}_${i} = subgroupMatrixLoad<Left, row_major>(&queries, ${at}, ${headDim}u);`;
      }),
    )
    .join('\n  ');
}

/** Computes the scores of `tile0`, then of `tile1`, and lets `consume` look at them in workgroup memory. */
function twoTiles(variant: FilterVariant, consume: (j: number) => string): string {
  const products = variant.emulated ? emulatedProducts : matrixProducts;
  return [0, 1]
    .map(
      (j) => `{
          let tile_at = keys_at + tile${j} * ${16 * variant.headDim}u;
          ${products(variant.headDim)}
        }
        workgroupBarrier();
        ${consume(j)}
        workgroupBarrier();`,
    )
    .join('\n        ');
}

function matrixProducts(headDim: number): string {
  const chunks = range(headDim / 16);
  return `${chunks.map((i) => `let b${i} = subgroupMatrixLoad<Right, col_major>(&keys, tile_at + ${256 * i}u, 16u);`).join('\n          ')}
          ${chunks
            .flatMap((i) =>
              [0, 1].map((m) =>
                i === 0
                  ? `var s${m} = subgroupMatrixMultiply<f32>(a${m}_0, b0);`
                  : `s${m} = subgroupMatrixMultiplyAccumulate(a${m}_${i}, b${i}, s${m});`,
              ),
            )
            .join('\n          ')}
          ${[0, 1].map(storeProducts).join('\n          ')}`;
}

function emulatedProducts(headDim: number): string {
  return `for (var c = 0u; c < 16u; c++) {
            var sum = 0.0;
            for (var d = 0u; d < ${headDim}u; d += 2u) {
              let of_query = unpack2x16float(queries[(row * ${headDim}u + d) / 2u]);
              let of_key = unpack2x16float(keys[(tile_at + (d / 16u) * 256u + c * 16u + d % 16u) / 2u]);
              sum += dot(of_query, of_key);
            }
            ${storeOne('c', 'sum')}
          }`;
}

/**
 * `guess`: the rank-th largest of the lane's group maxima, short of it by a bin of the last pass; `enough`: whether it
 * has that many. The histogram is the lane's own, in the memory of the score tiles; bin 0 counts what lies below.
 */
function thresholdText(groupWords: number): string {
  return `var base = low;
    var per_unit = ${BINS - 0.001} / max(high - low, 1e-20);
    var above = 0.0;
    var enough = true;
    workgroupBarrier();
    for (var digit = 0u; digit < ${PASSES}u; digit++) {
      for (var bin = 0u; bin <= ${BINS}u; bin++) { scores[read_at + bin * 32u] = 0.0; }
      for (var word = 0u; word < ${groupWords}u; word += ${WORDS_AT_ONCE}u) {
        let at = groups_at + word * 32u;
        ${range(WORDS_AT_ONCE)
          .map((w) => `let pair${w} = unpack2x16float(lists[at + ${32 * w}u]);`)
          .join('\n        ')}
        ${range(WORDS_AT_ONCE)
          .flatMap((w) =>
            ['x', 'y'].map(
              (half) => `{
          let place = (pair${w}.${half} - base) * per_unit;
          let bin = select(u32(clamp(place + 1.0, 0.0, ${BINS}.0)), 0u, digit > 0u && place >= ${BINS}.0);
          scores[read_at + bin * 32u] += 1.0;
        }`,
            ),
          )
          .join('\n        ')}
      }
      var bin = ${BINS}u;
      while (bin > 0u) {
        let reached = above + scores[read_at + bin * 32u];
        if (reached >= rank) { break; }
        above = reached;
        bin--;
      }
      if (bin == 0u) {
        if (digit == 0u) { enough = false; }
        bin = 1u;
      }
      base += f32(bin - 1u) / per_unit;
      per_unit *= ${BINS}.0;
    }
    let guess = base - ${2 ** -10} * abs(base) - 2e-6 * (abs(low) + abs(high));`;
}
