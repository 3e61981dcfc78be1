import { groupIndex, groupReductions } from '../attention/shared/reductions.js';
import type { Span } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import { defineKernel, read, write } from '../wgsl/define-kernel.js';

const INVOCATIONS = 64;

/** The sum of the products of two rows, one workgroup per row. */
const productKernel = defineKernel({
  key: 'linear-attention row products',
  uniforms: { rows: 'u32', width: 'u32' },
  buffers: { a: read('f32'), b: read('f32'), out: write('f32') },
  workgroup: INVOCATIONS,
  source: () => `
${groupIndex}
${groupReductions(INVOCATIONS)}
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let row = group_index(group, groups);
  if (row >= params.rows) { return; }
  var sum = 0.0;
  for (var at = t; at < params.width; at += INVOCATIONS) {
    sum += a[row * params.width + at] * b[row * params.width + at];
  }
  sum = sum_of_group(sum, t);
  if (t == 0u) { out[row] = sum; }
}`,
});

/** a, b [rows, width] -> out [rows] */
export function recordRowProducts(
  stream: Stream,
  { rows, width }: { readonly rows: number; readonly width: number },
  buffers: { readonly a: Span; readonly b: Span; readonly out: Span },
): void {
  productKernel.launch(stream, { uniforms: { rows, width }, buffers, workgroups: rows });
}
