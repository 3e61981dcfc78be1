import type { Kernel } from '../../runtime/kernel.js';
import { COUNTERS } from '../finish/candidates.js';
import { bindings } from '../finish/score-text.js';
import { THRESHOLD_SLACK, UNBOUNDED } from './error-bound.js';
import { QUERY_KIND } from './prepare.js';
import { EMPTY, keyOfColumn, type TileLayout, type TileResults, tileLayout } from './tile-layout.js';

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
  /** What the products are and how they go through workgroup memory; see `tileLayout`. */
  readonly results: TileResults;
  /** Key tiles go through workgroup memory, loaded once per workgroup and a tile ahead. */
  readonly staged: boolean;
  /** Places for score tiles per subgroup: with two, a barrier per tile instead of two. */
  readonly buffers: 1 | 2;
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
export function phasesOf(capacity: number): number {
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
  const { headDim, causal, keyLengths, relativeReach, capacity, subgroups } = variant;
  const relative = relativeReach !== undefined;
  const tables = keyLengths || relative;
  const chunks = range(headDim / 16);
  const phases = phasesOf(capacity);
  const groupWords = 8 * phases;
  const layout = tileLayout(variant.results, variant.buffers);
  const staging = stagingOf(variant);
  const flags = [causal && 'causal', keyLengths && 'keyLengths', relative && `relative ${relativeReach}`]
    .filter(Boolean)
    .join(' ');
  return {
    key: `tensor filter d${headDim} c${capacity} s${subgroups} ${variant.results}${variant.staged ? ' staged' : ''}${variant.buffers === 2 ? ' doubled' : ''} ${flags}`,
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
enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, subgroup_uniformity);
diagnostic(off, chromium.subgroup_matrix_uniformity);
alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
struct Params {
  heads: u32, head_start: u32, query_start: u32, query_count: u32,
  query_length: u32, key_length: u32, query_heads: u32, heads_per_key_head: u32,
  key_head_start: u32, tiles: u32, k: u32, rank: u32,
  stride: u32, stride_from: u32, by_head: u32, buckets_at: u32, table_at: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
${bindings([
  ['queries', 'read', 'array<f16>'],
  ['units', 'read', 'array<vec4f>'],
  ['keys', 'read', variant.staged ? 'array<vec4u>' : 'array<f16>'],
  ['bounds', 'read', 'array<f32>'],
  ['lists', 'read_write', 'array<u32>'],
  ['heads', 'read_write', 'array<vec2u>'],
  ['counters', 'read', 'array<u32>'],
  ...(tables ? ([['tables', 'read', 'array<u32>']] as const) : []),
])}
${layout.declare(subgroups)}
${staging.declare}
${relative ? relativeDeclarations(relativeReach) : ''}

/** Keys of a tile are bits 31 to 24 and 15 to 8 of a mask, in this order. */
fn key_of_bit(bit: u32) -> u32 { return select(23u, 31u, bit >= 16u) - bit; }
fn leading_keys(count: i32) -> u32 {
  let high = 0xff000000u & ~select(0xffffffffu >> u32(clamp(count, 0, 8)), 0xffffffffu, count <= 0);
  let low = 0xff00u & ~select(0xffffu >> u32(clamp(count - 8, 0, 8)), 0xffffu, count <= 8);
  return high | low;
}

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
  let head = select(job % params.heads, job / query_tiles, params.by_head != 0u);
  let query_tile = query_tiles - 1u - select(job / params.heads, job % query_tiles, params.by_head != 0u);
  let flat = params.head_start + head;
  let batch = flat / params.query_heads;
  let key_head = flat / params.heads_per_key_head - params.key_head_start;
  let subgroup = t / 32u;
  let store_at = subgroup * ${layout.storeUnits}u;
  let read_at = subgroup * ${layout.readUnits}u + lane * ${layout.readStride}u;
  let bins_at = subgroup * ${layout.binUnits}u + lane;
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
  let keys_at = key_head * params.tiles * ${staging.tileUnits}u;
  let bounds_at = key_head * params.tiles;
  ${chunks
    .flatMap((i) =>
      [0, 1].map(
        (m) =>
          `let a${m}_${i} = subgroupMatrixLoad<Left, row_major>(&queries, first_row * ${headDim}u + ${16 * m * headDim + 16 * i}u, ${headDim}u);`,
      ),
    )
    .join('\n  ')}
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
    ${staging.prime('0u')}
    for (var phase = 0u; phase < ${phases}u; phase++) {
      ${layout.declareMaxima}
      for (var step = phase; step < sweep_steps; step += ${phases}u) {
        let tile0 = step * stride;
        let tile1 = (step + sweep_steps) * stride;
        ${staging.isUsed ? `let next_tile = select(phase + 1u, step + ${phases}u, step + ${phases}u < sweep_steps) * stride;` : ''}
        let bound0 = bounds[bounds_at + tile0];
        let bound1 = bounds[bounds_at + tile1];
        bound_sum += select(bound0, 0.0, bound0 >= ${UNBOUNDED}) + select(bound1, 0.0, bound1 >= ${UNBOUNDED});
        ${twoTiles(
          variant,
          layout,
          (j) => `{
            ${layout.read(j)}
            ${relative ? addRelative(j) : ''}
            if (16u * tile${j} + 16u > fewest) {
              ${layout.hide(`16u * tile${j}`)}
            }
            ${layout.takeMaxima}
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
      ${layout.emitMaxima}
    }
    ${thresholdText(groupWords, layout)}
    bar = guess - bound_sum / f32(2u * max(sweep_steps, 1u));
    if (!enough) { bar = ${-UNBOUNDED}; }
  }
  // Lists overwrite the maxima of other lanes.
  storageBarrier();
  workgroupBarrier();

  let is_zero = ${relative ? 'false' : `unit.w == ${QUERY_KIND.zero}.0`};
  let room = select(${capacity}u, params.k, is_zero);
  var count = 0u;
  ${staging.prime('0u')}
  for (var step = 0u; step < steps; step++) {
    let tile0 = 2u * step;
    let tile1 = tile0 + 1u;
    ${staging.isUsed ? 'let next_tile = tile0 + 2u;' : ''}
    var listed = vec2u();
    ${twoTiles(
      variant,
      layout,
      (j) => `{
      let limit = bar - bounds[bounds_at + tile${j}];
      ${layout.read(j)}
      ${relative ? addRelative(j) : ''}
      ${layout.compare}
      listed.${j === 0 ? 'x' : 'y'} = mask;
    }`,
    )}
    if (32u * step + 32u > fewest) {
      listed.x &= leading_keys(i32(visible) - i32(32u * step));
      listed.y &= leading_keys(i32(visible) - i32(32u * step + 16u));
    }
    if (count > room) { listed = vec2u(); }
    // Highest bit first: see \`pack_column\` for the order of keys in a tile.
    while (listed.x != 0u) {
      let bit = firstLeadingBit(listed.x);
      listed.x &= ~(1u << bit);
      if (count < room) { lists[list_at + count] = 32u * step + key_of_bit(bit); }
      count++;
    }
    while (listed.y != 0u) {
      let bit = firstLeadingBit(listed.y);
      listed.y &= ~(1u << bit);
      if (count < room) { lists[list_at + count] = 32u * step + 16u + key_of_bit(bit); }
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

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
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

interface Staging {
  readonly isUsed: boolean;
  /** Units of the packed keys of a tile, as the kernel's array counts them. */
  readonly tileUnits: number;
  readonly declare: string;
  /** Brings the first tile of a sweep into place. */
  prime(tile: string): string;
  /** Starts to load the tile after tile j; `put` brings it into place when tile j is multiplied. */
  fetch(j: number): string;
  put(j: number): string;
  /** 16 elements of the keys of tile j as a matrix. */
  load(j: number, chunk: number): string;
}

function stagingOf({ headDim, staged, subgroups }: FilterVariant): Staging {
  if (!staged) {
    return {
      isUsed: false,
      tileUnits: 16 * headDim,
      declare: '',
      prime: () => '',
      fetch: (j) => `let tile_at = keys_at + tile${j} * ${16 * headDim}u;`,
      put: () => '',
      load: (_, chunk) => `subgroupMatrixLoad<Right, col_major>(&keys, tile_at + ${256 * chunk}u, 16u)`,
    };
  }
  // Fours of words; a key's row is padded by one, so that the rows of a matrix lie in different banks.
  const row = headDim / 8;
  const padded = row + 1;
  const size = 16 * padded;
  const copies = range(Math.ceil((16 * row) / (32 * subgroups)));
  const whole = (16 * row) % (32 * subgroups) === 0;
  const from = (copy: number): string => `t + ${32 * subgroups * copy}u`;
  const guard = (copy: number, text: string): string =>
    whole ? text : `if (${from(copy)} < ${16 * row}u) { ${text} }`;
  const place = (copy: number): string =>
    `(${from(copy)}) / ${row}u * ${padded}u + (${from(copy)}) % ${row}u`;
  return {
    isUsed: true,
    tileUnits: 16 * row,
    declare: `var<workgroup> staged: array<vec4u, ${2 * size}>;`,
    prime: (tile) =>
      `workgroupBarrier();
    ${copies.map((c) => guard(c, `staged[${place(c)}] = keys[keys_at + ${tile} + ${from(c)}];`)).join('\n    ')}
    workgroupBarrier();`,
    fetch: (j) => `let incoming_at = keys_at + ${j === 0 ? 'tile1' : 'next_tile'} * ${16 * row}u;
          ${copies.map((c) => `let incoming${c} = keys[incoming_at + ${from(c)}];`).join('\n          ')}`,
    put: (j) =>
      copies
        .map((c) => guard(c, `staged[${(1 - j) * size}u + ${place(c)}] = incoming${c};`))
        .join('\n          '),
    load: (j, chunk) => `subgroupMatrixLoad<Right, col_major>(&staged, ${j * size + 2 * chunk}u, ${padded}u)`,
  };
}

/** Computes the scores of `tile0`, then of `tile1`, and lets `consume` look at them in workgroup memory. */
function twoTiles(variant: FilterVariant, layout: TileLayout, consume: (j: number) => string): string {
  const chunks = range(variant.headDim / 16);
  const staging = stagingOf(variant);
  const products = (j: number): string => `{
          ${staging.fetch(j)}
          ${chunks.map((i) => `let b${i} = ${staging.load(j, i)};`).join('\n          ')}
          ${chunks
            .flatMap((i) =>
              [0, 1].map((m) =>
                i === 0
                  ? `var s${m} = subgroupMatrixMultiply<${layout.component}>(a${m}_0, b0);`
                  : `s${m} = subgroupMatrixMultiplyAccumulate(a${m}_${i}, b${i}, s${m});`,
              ),
            )
            .join('\n          ')}
          ${[0, 1].map((m) => layout.store(j, m)).join('\n          ')}
          ${staging.put(j)}
        }`;
  return [0, 1]
    .map(
      (j) => `${products(j)}
        workgroupBarrier();
        ${consume(j)}
        ${variant.buffers === 1 ? 'workgroupBarrier();' : ''}`,
    )
    .join('\n        ');
}

/**
 * `guess`: the rank-th largest of the lane's group maxima, short of it by a bin of the last pass; `enough`: whether it
 * has that many. The histogram is the lane's own, in the memory of the score tiles; bin 0 counts what lies below.
 */
function thresholdText(groupWords: number, layout: TileLayout): string {
  return `var base = low;
    var per_unit = ${BINS - 0.001} / max(high - low, 1e-20);
    var above = 0.0;
    var enough = true;
    workgroupBarrier();
    for (var digit = 0u; digit < ${PASSES}u; digit++) {
      for (var bin = 0u; bin <= ${BINS}u; bin++) { ${layout.bin('bin')} = ${layout.binZero}; }
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
          ${layout.bin('bin')} += ${layout.binOne};
        }`,
            ),
          )
          .join('\n        ')}
      }
      var bin = ${BINS}u;
      while (bin > 0u) {
        let reached = above + f32(${layout.bin('bin')});
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
