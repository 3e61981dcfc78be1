import type { Kernel } from '../../runtime/kernel.js';
import { halvesOf } from '../../wgsl/numbers.js';
import { bindings } from '../shared/bindings.js';
import { geometryStruct, keyHeadOf } from '../shared/geometry.js';
import {
  absoluteBound,
  KEY_EXPONENT,
  QUERY_NORM,
  RELATIVE_BOUND,
  SHIFT_DOUBT,
  UNBOUNDED,
} from './error-bound.js';
import { fourArray, loadFour } from './score-text.js';

export interface PrepareVariant {
  readonly headDim: number;
  readonly half: boolean;
}

function keyOf(name: string, { headDim, half }: PrepareVariant): string {
  return `tensor ${name} d${headDim}${half ? ' half' : ''}`;
}

const classes = `
const INF_BITS = 0x7f800000u;
/** The largest magnitude of four elements as bits; infinities and NaN are larger than any finite number. */
fn largest_of(x: vec4f) -> u32 {
  let bits = bitcast<vec4u>(x) & vec4u(0x7fffffffu);
  return max(max(bits.x, bits.y), max(bits.z, bits.w));
}
/** 2^(KEY_EXPONENT - e) for the e of a largest magnitude, where that is a normal number. */
fn factor_of(largest: u32) -> f32 {
  let exponent = clamp(254 + ${KEY_EXPONENT} - i32(largest >> 23u), 1, 254);
  return select(bitcast<f32>(u32(exponent) << 23u), 1.0, largest == 0u);
}`;

/** Keys that `centreKeys` looks at, at most. */
const CENTRE_KEYS = 512;

/**
 * A point amid the keys of every head, f32 [heads, D]: of a sample of keys, the means of a few groups, and of these the
 * median in each dimension, so that a few extreme keys do not carry it away. Taking the same vector from all keys moves
 * all scores of a query alike, but keys are shorter about their centre, and so are the error bounds. One workgroup a head.
 */
export function centreKeys(variant: PrepareVariant): Kernel {
  const { headDim, half } = variant;
  const fours = headDim / 4;
  const teams = Math.floor(256 / fours);
  return {
    key: keyOf('centre keys', variant),
    buffers: ['read', 'write'],
    source: () => `
struct Params { key_length: u32, base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
${bindings([`read> k: ${fourArray(half)}`, 'read_write> centres: array<vec4f>'])}
var<workgroup> means: array<vec4f, ${teams * fours}>;
${loadFour('k', half)}
${classes}
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
  let team = t / ${fours}u;
  let four = t % ${fours}u;
  let sample = min(params.key_length, ${CENTRE_KEYS}u);
  let head_at = params.base + group.x * params.key_length * ${fours}u;
  if (team < ${teams}u) {
    var sum = vec4f();
    var count = 0.0;
    for (var i = team; i < sample; i += ${teams}u) {
      let x = load_k(head_at + (i * (params.key_length / sample)) * ${fours}u + four);
      if (largest_of(x) < INF_BITS) {
        sum += x;
        count += 1.0;
      }
    }
    means[t] = sum / max(count, 1.0);
  }
  workgroupBarrier();
  if (team == 0u) {
    var centre = vec4f();
    for (var a = 0u; a < ${teams}u; a++) {
      let mean = means[a * ${fours}u + four];
      var below = vec4u();
      for (var b = 0u; b < ${teams}u; b++) {
        let other = means[b * ${fours}u + four];
        below += select(vec4u(), vec4u(1u), (other < mean) | ((other == mean) & vec4<bool>(b < a)));
      }
      centre = select(centre, mean, below == vec4u(${Math.floor((teams - 1) / 2)}u));
    }
    centres[group.x * ${fours}u + four] = select(centre, vec4f(), largest_of(centre) >= INF_BITS);
  }
}`,
  };
}

/** Keys per workgroup of `largestKeys`. */
export const LARGEST_KEYS_ROWS = 256;

/**
 * Of the keys of every head about its centre: the largest finite magnitude as bits, and 1 where one is not finite; u32 [heads, 2], cleared
 * before. Grid: blocks of keys, heads. One pass over K.
 */
export function largestKeys(variant: PrepareVariant): Kernel {
  const { headDim, half } = variant;
  const fours = headDim / 4;
  return {
    key: keyOf('largest keys', variant),
    buffers: ['read', 'read', 'write'],
    source: () => `
struct Params { key_length: u32, base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
${bindings([
  `read> k: ${fourArray(half)}`,
  'read> centres: array<vec4f>',
  'read_write> largest: array<atomic<u32>>',
])}
var<workgroup> of_group: atomic<u32>;
var<workgroup> not_finite: atomic<u32>;
${loadFour('k', half)}
${classes}
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
  if (t == 0u) {
    atomicStore(&of_group, 0u);
    atomicStore(&not_finite, 0u);
  }
  workgroupBarrier();
  let first = group.x * ${LARGEST_KEYS_ROWS * fours}u;
  let last = min(first + ${LARGEST_KEYS_ROWS * fours}u, params.key_length * ${fours}u);
  let head_at = params.base + group.y * params.key_length * ${fours}u;
  var most = 0u;
  for (var i = first + t; i < last; i += 256u) {
    let here = largest_of(load_k(head_at + i) - centres[group.y * ${fours}u + i % ${fours}u]);
    if (here >= INF_BITS) { atomicStore(&not_finite, 1u); } else { most = max(most, here); }
  }
  atomicMax(&of_group, most);
  workgroupBarrier();
  if (t == 0u) {
    atomicMax(&largest[2u * group.y], atomicLoad(&of_group));
    atomicMax(&largest[2u * group.y + 1u], atomicLoad(&not_finite));
  }
}`,
  };
}

/**
 * Keys about their centre as f16 in tiles of 16 keys, each tile as blocks of 16 keys x 16 elements that lie together, and the error bound
 * of every tile. Missing keys of the last tiles are zeros. A workgroup packs one tile. One pass
 * over K, one over the copy.
 */
export function packKeys(variant: PrepareVariant): Kernel {
  const { headDim, half } = variant;
  const fours = headDim / 4;
  const invocations = Math.min(256, 16 * fours);
  return {
    key: keyOf('pack keys', variant),
    buffers: ['read', 'read', 'read', 'write', 'write'],
    source: () => `
struct Params { key_length: u32, base: u32, tiles: u32, count: u32 }
@group(0) @binding(0) var<uniform> params: Params;
${bindings([
  `read> k: ${fourArray(half)}`,
  'read> centres: array<vec4f>',
  'read> largest: array<u32>',
  'read_write> packed: array<vec2u>',
  'read_write> bounds: array<f32>',
])}
var<workgroup> squares: array<f32, ${16 * fours}>;
var<workgroup> magnitudes: array<u32, ${16 * fours}>;
var<workgroup> norms: array<f32, 16>;
${loadFour('k', half)}
${classes}
${halvesOf}
@compute @workgroup_size(${invocations})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32,
) {
  let job = group.x + group.y * groups.x;
  if (job >= params.count) { return; }
  let head = job / params.tiles;
  let tile = job % params.tiles;
  let factor = factor_of(largest[2u * head]);
  for (var i = t; i < ${16 * fours}u; i += ${invocations}u) {
    let key = 16u * tile + i / ${fours}u;
    let four = i % ${fours}u;
    var x = vec4f();
    if (key < params.key_length) {
      x = load_k(params.base + (head * params.key_length + key) * ${fours}u + four) - centres[head * ${fours}u + four];
    }
    let within = i / ${fours}u;
    let column = select(2u * within - 16u, 2u * within + 1u, within < 8u); // the inverse of keyOfColumn
    let magnitude = largest_of(x);
    magnitudes[i] = magnitude;
    x = select(x * factor, vec4f(), magnitude >= INF_BITS);
    squares[i] = dot(x, x);
    let at = (head * params.tiles + tile) * ${16 * fours}u + (four / 4u) * 64u + column * 4u + four % 4u;
    packed[at] = vec2u(halves_of(x.x, x.y), halves_of(x.z, x.w));
  }
  workgroupBarrier();
  if (t < 16u) {
    var sum = 0.0;
    var most = 0u;
    for (var four = 0u; four < ${fours}u; four++) {
      sum += squares[t * ${fours}u + four];
      most = max(most, magnitudes[t * ${fours}u + four]);
    }
    norms[t] = select(sqrt(sum) * ${QUERY_NORM * RELATIVE_BOUND} + ${absoluteBound(headDim)}, ${UNBOUNDED}, most >= INF_BITS);
  }
  workgroupBarrier();
  if (t == 0u) {
    var bound = 0.0;
    for (var key = 0u; key < 16u; key++) { bound = max(bound, norms[key]); }
    bounds[head * params.tiles + tile] = bound;
  }
}`,
  };
}

/** What the second number of a prepared query says. */
export const QUERY_KIND = { usual: 0, refused: 1, zero: 2 } as const;

/**
 * Queries as f16 of length QUERY_NORM, [rows, D] with zeros for rows past the last query; and of each row, [rows, 4]: the
 * unit and the shift of its scores (a score is the filter's times the unit plus the shift, which is that of the keys'
 * centre), how far the shift makes scores uncertain, and its kind. Refused: rows with NaN or infinities, and
 * rows whose unit is so large or small that a threshold could be rounded away. One workgroup per 32 rows.
 */
export function prepareQueries(variant: PrepareVariant): Kernel {
  const { headDim, half } = variant;
  const fours = headDim / 4;
  return {
    key: keyOf('prepare queries', variant),
    buffers: ['read', 'read', 'read', 'write', 'write'],
    source: () => `
${geometryStruct}
${keyHeadOf}
${bindings([
  `read> q: ${fourArray(half)}`,
  'read> centres: array<vec4f>',
  'read> largest: array<u32>',
  'read_write> prepared: array<vec2u>',
  'read_write> units: array<vec4f>',
])}
${loadFour('q', half)}
${classes}
${halvesOf}
var<workgroup> sums: array<vec4f, ${32 * 8}>;
var<workgroup> magnitudes: array<u32, ${32 * 8}>;
@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32,
) {
  // Eight invocations a row.
  let r = 32u * (group.x + group.y * groups.x) + t / 8u;
  let eighth = t % 8u;
  let rows = params.heads * params.queries;
  let row = row_at(r);
  let exists = r < rows && row.query < params.query_length;
  let at = params.q_base / 4u + (row.local_head * params.query_length + row.local_query) * ${fours}u;
  var most = 0u;
  for (var four = eighth; four < ${fours}u; four += 8u) {
    if (exists) { most = max(most, largest_of(load_q(at + four))); }
  }
  magnitudes[t] = most;
  workgroupBarrier();
  most = 0u;
  for (var i = 0u; i < 8u; i++) { most = max(most, magnitudes[(t & ~7u) + i]); }
  let is_finite = most < INF_BITS;
  let exponent = clamp(254 - i32(most >> 23u), 1, 254);
  let near_one = bitcast<f32>(u32(exponent) << 23u);
  let key_head = key_head_of(min(row.local_head, params.heads - 1u));
  // Of the row: its square, its product with the centre; of the centre: its square.
  var sum = vec4f();
  for (var four = eighth; four < ${fours}u; four += 8u) {
    if (exists && is_finite) {
      let x = load_q(at + four) * near_one;
      let centre = centres[key_head * ${fours}u + four];
      sum += vec4f(dot(x, x), dot(x, centre), dot(centre, centre), 0.0);
    }
  }
  sums[t] = sum;
  workgroupBarrier();
  sum = vec4f();
  for (var i = 0u; i < 8u; i++) { sum += sums[(t & ~7u) + i]; }
  let norm = sqrt(sum.x);
  let usable = exists && is_finite && norm > 0.0;
  let turn = select(0.0, select(${QUERY_NORM}.0, -${QUERY_NORM}.0, params.scale < 0.0) / norm, usable);
  if (r < rows) {
    for (var four = eighth; four < ${fours}u; four += 8u) {
      var x = vec4f();
      if (usable) { x = (load_q(at + four) * near_one) * turn; }
      prepared[r * ${fours}u + four] = vec2u(halves_of(x.x, x.y), halves_of(x.z, x.w));
    }
    if (eighth == 0u) {
      let factor = factor_of(largest[2u * key_head]);
      let length = norm / near_one;
      let unit = (length * abs(params.scale)) / (factor * ${QUERY_NORM}.0);
      let shift = (sum.y / near_one) * params.scale;
      let doubt = length * sqrt(sum.z) * abs(params.scale) * ${SHIFT_DOUBT};
      let is_usual = is_finite && unit > 1e-30 && unit < 1e30 && abs(shift) < 1e30 && doubt < 1e30;
      // A query of zeros scores 0 with every finite key.
      var kind = select(${QUERY_KIND.refused}.0, ${QUERY_KIND.usual}.0, is_usual);
      if (exists && most == 0u && largest[2u * key_head + 1u] == 0u) { kind = ${QUERY_KIND.zero}.0; }
      units[r] = vec4f(unit, shift, doubt, kind);
    }
  }
}`,
  };
}
