import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import type { View } from '../../runtime/view.js';
import { defineKernel, read, write } from '../../wgsl/define-kernel.js';
import { geometryOf, geometryUniforms, visibleKeys } from '../shared/geometry.js';
import { groupIndex, groupReductions } from '../shared/reductions.js';
import type { Slopes } from './slopes.js';

const INVOCATIONS = 64;

/**
 * Sums of dS over the query-key pairs at equal distance, for each head of a part: [heads, queries + keys - 1], from
 * the last query with the first key to the first query with the last key. One invocation per sum, queries in order.
 */
const diagonalsKernel = defineKernel({
  key: 'attention exact-backward diagonals',
  uniforms: { ...geometryUniforms, row_fours: 'u32' },
  buffers: { slopes: read('f32'), sums: write('f32') },
  workgroup: INVOCATIONS,
  source: () => `
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = id.x + id.y * groups.x * INVOCATIONS;
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
    sum += slopes[4u * (head * params.queries + query) * params.row_fours + key];
  }
  sums[at] = sum;
}`,
});

/** Adds the sums of the diagonals to the gradient of the table [buckets, Hq]. One workgroup per bucket and head. */
const tableKernel = defineKernel({
  key: 'attention exact-backward table',
  uniforms: { ...geometryUniforms, buckets: 'u32', farthest: 'u32' },
  buffers: { sums: read('f32'), bucket_of: read('u32'), table: write('f32') },
  workgroup: INVOCATIONS,
  source: () => `
${groupIndex}
${groupReductions(INVOCATIONS)}
@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let index = group_index(group, groups);
  let bucket = index / params.query_heads;
  let head = index % params.query_heads;
  let farthest = i32(params.farthest);
  if (bucket >= params.buckets) { return; }
  let width = params.queries + params.visible_keys - 1u;
  // Position of the first key relative to the part's last query.
  let lowest = 1 - i32(params.first_query + params.queries) - params.query_start;
  var sum = 0.0;
  for (var local_head = 0u; local_head < params.heads; local_head++) {
    if ((params.first_head + local_head) % params.query_heads != head) { continue; }
    for (var diagonal = t; diagonal < width; diagonal += INVOCATIONS) {
      let relative = clamp(lowest + i32(diagonal), -farthest, farthest);
      if (bucket_of[u32(relative + farthest)] == bucket) { sum += sums[local_head * width + diagonal]; }
    }
  }
  sum = sum_of_group(sum, t);
  if (t == 0u) { table[bucket * params.query_heads + head] += sum; }
}`,
});

/** Bytes of the sums of a part. */
export function tableGradientBytes(heads: number, queries: number, keys: number): number {
  return 4 * heads * (queries + keys - 1);
}

export function recordTableGradient(
  stream: Stream,
  { request, part, span, fours }: Slopes,
  { buckets: bucketOf, farthest }: { readonly buckets: Span; readonly farthest: number },
  table: View,
): void {
  const [buckets, heads] = table.shape as [number, number];
  const keys = visibleKeys(request, part);
  const sums = stream.scratch(tableGradientBytes(part.heads, part.queries, keys));
  const geometry = geometryOf(request, part);
  diagonalsKernel.launch(stream, {
    uniforms: { ...geometry, row_fours: fours },
    buffers: { slopes: span, sums },
    workgroups: { invocations: part.heads * (part.queries + keys - 1) },
  });
  tableKernel.launch(stream, {
    uniforms: { ...geometry, buckets, farthest },
    buffers: { sums, bucket_of: bucketOf, table: table.span },
    workgroups: buckets * heads,
  });
  stream.release(sums);
}
