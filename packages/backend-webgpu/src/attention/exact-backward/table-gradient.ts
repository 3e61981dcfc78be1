import { gridOf, type Kernel, type Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import type { View } from '../../runtime/view.js';
import { bindings } from '../shared/bindings.js';
import { type Geometry, geometryStruct, geometryWords, visibleKeys } from '../shared/geometry.js';
import { groupIndex, groupReductions } from '../shared/reductions.js';

const INVOCATIONS = 64;

/**
 * Sums of dS over the pairs of a query and a key that lie equally far apart, of each head of a part: [heads, queries + keys
 * - 1], from the last query with the first key to the first query with the last key. One invocation a sum, queries in
 * order.
 */
const diagonalsKernel: Kernel = {
  key: 'attention exact-backward diagonals',
  buffers: ['read', 'write'],
  source: () => `${geometryStruct}
${bindings(['read> slopes: array<f32>', 'read_write> sums: array<f32>'])}
@compute @workgroup_size(${INVOCATIONS})
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = id.x + id.y * groups.x * ${INVOCATIONS}u;
  let width = params.queries + params.visible_keys - 1u;
  let head = at / width;
  if (head >= params.heads) { return; }
  let diagonal = at % width;
  // key - query = diagonal - (queries - 1), both counted within the part.
  let first = max(params.queries - 1u, diagonal) - diagonal;
  let end = min(params.queries, params.visible_keys + params.queries - 1u - diagonal);
  var sum = 0.0;
  for (var query = first; query < end; query++) {
    let key = diagonal + query - (params.queries - 1u);
    sum += slopes[4u * (head * params.queries + query) * params.own.x + key];
  }
  sums[at] = sum;
}`,
};

/** Adds the sums of the diagonals to the gradient of the table [buckets, Hq]. One workgroup a bucket and head. */
const tableKernel: Kernel = {
  key: 'attention exact-backward table',
  buffers: ['read', 'read', 'write'],
  source: () => `${geometryStruct}
${bindings(['read> sums: array<f32>', 'read> bucket_of: array<u32>', 'read_write> table: array<f32>'])}
${groupIndex}
${groupReductions(INVOCATIONS)}
@compute @workgroup_size(${INVOCATIONS})
fn main(
  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let index = group_index(group, groups);
  let bucket = index / params.query_heads;
  let head = index % params.query_heads;
  let farthest = i32(params.own.z);
  if (bucket >= params.own.y) { return; }
  let width = params.queries + params.visible_keys - 1u;
  // Position of the first key relative to the part's last query.
  let lowest = i32(params.query_length) - i32(params.key_length + params.first_query + params.queries) + 1;
  var sum = 0.0;
  for (var local_head = 0u; local_head < params.heads; local_head++) {
    if ((params.first_head + local_head) % params.query_heads != head) { continue; }
    for (var diagonal = t; diagonal < width; diagonal += ${INVOCATIONS}u) {
      let relative = clamp(lowest + i32(diagonal), -farthest, farthest);
      if (bucket_of[u32(relative + farthest)] == bucket) { sum += sums[local_head * width + diagonal]; }
    }
  }
  sum = sum_of_group(sum, t);
  if (t == 0u) { table[bucket * params.query_heads + head] += sum; }
}`,
};

/** Bytes of the sums of a part. */
export function tableGradientBytes(heads: number, queries: number, keys: number): number {
  return 4 * heads * (queries + keys - 1);
}

/** `geometry`: of the part, with the fours of a row of dS as its first own word. */
export function recordTableGradient(
  stream: Stream,
  geometry: Geometry,
  slopes: Span,
  positions: { readonly buckets: Span; readonly farthest: number },
  table: View,
): void {
  const { request, part, own = [] } = geometry;
  const [buckets, heads] = table.shape as [number, number];
  const keys = visibleKeys(request, part);
  const sums = stream.scratch(tableGradientBytes(part.heads, part.queries, keys));
  const uniforms = geometryWords({ ...geometry, own: [own[0] ?? 0, buckets, positions.farthest] });
  stream.launch({
    kernel: diagonalsKernel,
    buffers: [slopes, sums],
    uniforms,
    workgroups: gridOf(Math.ceil((part.heads * (part.queries + keys - 1)) / INVOCATIONS)),
  });
  stream.launch({
    kernel: tableKernel,
    buffers: [sums, positions.buckets, table.span],
    uniforms,
    workgroups: gridOf(buckets * heads),
  });
  stream.release(sums);
}
