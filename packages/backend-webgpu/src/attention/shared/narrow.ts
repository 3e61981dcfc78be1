import { windowOf } from '../../runtime/binding.js';
import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import type { View } from '../../runtime/view.js';
import { defineKernel, read, writeTo } from '../../wgsl/define-kernel.js';
import { halfOf, halvesOf } from '../../wgsl/numbers.js';
import { groupIndex } from './reductions.js';

/**
 * f32 to f16, one invocation per word of the result. A word shared with elements outside the run keeps its other half.
 */
const narrowKernel = defineKernel({
  key: 'attention narrow',
  uniforms: { count: 'u32' },
  buffers: { wide: read('f32'), narrow: writeTo('u32') },
  workgroup: 256,
  source: () => `
${halfOf}
${groupIndex}
fn kept_or_new(at: u32, old: u32) -> u32 {
  if (at < params.narrow_base || at >= params.narrow_base + params.count) { return old; }
  return half_of(wide[at - params.narrow_base]);
}
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let word = params.narrow_base / 2u + group_index(group, groups) * INVOCATIONS + t;
  if (2u * word >= params.narrow_base + params.count) { return; }
  let old = narrow[word];
  narrow[word] = kept_or_new(2u * word, old & 0xffffu) | (kept_or_new(2u * word + 1u, old >> 16u) << 16u);
}`,
});

/** The same for runs of whole fours, which share no word. */
const foursKernel = defineKernel({
  key: 'attention narrow fours',
  uniforms: { fours: 'u32' },
  buffers: { wide: read('vec4f'), narrow: writeTo('vec2u') },
  workgroup: 256,
  source: () => `
${halvesOf}
${groupIndex}
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let at = group_index(group, groups) * INVOCATIONS + t;
  if (at >= params.fours) { return; }
  let four = wide[at];
  narrow[params.narrow_base / 4u + at] = vec2u(halves_of(four.x, four.y), halves_of(four.z, four.w));
}`,
});

/** Writes f32 numbers to elements of an f16 tensor, starting at `first`. */
export function recordNarrow(stream: Stream, wide: Span, out: View, first: number, count: number): void {
  const narrow = windowOf(out, first, count);
  if (narrow.base % 4 === 0 && count % 4 === 0) {
    foursKernel.launch(stream, {
      uniforms: { fours: count / 4 },
      buffers: { wide, narrow },
      workgroups: { invocations: count / 4 },
    });
    return;
  }
  narrowKernel.launch(stream, {
    uniforms: { count },
    buffers: { wide, narrow },
    workgroups: { invocations: count / 2 + 1 },
  });
}
