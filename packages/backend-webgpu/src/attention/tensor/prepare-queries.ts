import type { Binding } from '../../runtime/binding.js';
import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { kernelFamily, read, readFrom, write } from '../../wgsl/define-kernel.js';
import { halvesOf } from '../../wgsl/numbers.js';
import { geometryUniforms, keyHeadOf, type PartGeometry, rowAt } from '../shared/geometry.js';
import { QUERY_NORM, SHIFT_DOUBT } from './error-bound.js';
import { magnitudes } from './magnitudes.js';
import type { KeyVariant, PackedKeys } from './packing.js';
import { fourType, loadFour } from './score-text.js';

/** What the last number of a prepared query says. */
export const QUERY_KIND = { usual: 0, refused: 1, zero: 2 } as const;

/**
 * Queries as f16 of length QUERY_NORM, [rows, D] with zeros for rows past the last query; and of each row, [rows, 4]: the
 * unit and the shift of its scores (a score is the filter's times the unit plus the shift, which is that of the keys'
 * centre), how far the shift makes scores uncertain, and its kind. Refused: rows with NaN or infinities, and
 * rows whose unit is so large or small that a threshold could be rounded away. One workgroup per 32 rows.
 */
const prepareKernel = kernelFamily('tensor prepare queries', ({ headDim, half }: KeyVariant) => {
  const fours = headDim / 4;
  return {
    uniforms: geometryUniforms,
    buffers: {
      q: readFrom(fourType(half)),
      centres: read('vec4f'),
      largest: read('u32'),
      prepared: write('vec2u'),
      units: write('vec4f'),
    },
    workgroup: 256,
    source: () => `
${rowAt}
${keyHeadOf}
${loadFour('q', half)}
${magnitudes}
${halvesOf}
var<workgroup> sums: array<vec4f, ${32 * 8}>;
var<workgroup> magnitudes: array<u32, ${32 * 8}>;
@compute @workgroup_size(INVOCATIONS)
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
});

export function recordPrepareQueries(
  stream: Stream,
  variant: KeyVariant,
  geometry: PartGeometry,
  { centres, largest }: Pick<PackedKeys, 'centres' | 'largest'>,
  buffers: Readonly<Record<'q', Binding>> & Readonly<Record<'prepared' | 'units', Span>>,
): void {
  prepareKernel(variant).launch(stream, {
    uniforms: geometry,
    buffers: { ...buffers, centres, largest },
    workgroups: (geometry.heads * geometry.queries) / 32,
  });
}
