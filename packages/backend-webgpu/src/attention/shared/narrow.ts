import { type Binding, windowOf } from '../../runtime/binding.js';
import { gridOf, type Kernel, type Span, uniformWords } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import type { View } from '../../runtime/view.js';
import { halfOf } from '../../wgsl/numbers.js';
import { groupIndex } from './reductions.js';

const INVOCATIONS = 256;

/**
 * f32 to f16, one invocation a word of the result. A word that is shared with elements outside the run keeps the other
 * half.
 */
const narrowKernel: Kernel = {
  key: 'attention-backward narrow',
  buffers: ['read', 'write'],
  source: () => `
struct Params { base: u32, count: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> wide: array<f32>;
@group(0) @binding(2) var<storage, read_write> narrow: array<u32>;
${halfOf}
${groupIndex}
fn kept_or_new(at: u32, old: u32) -> u32 {
  if (at < params.base || at >= params.base + params.count) { return old; }
  return half_of(wide[at - params.base]);
}
@compute @workgroup_size(${INVOCATIONS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let word = params.base / 2u + group_index(group, groups) * ${INVOCATIONS}u + t;
  if (2u * word >= params.base + params.count) { return; }
  let old = narrow[word];
  narrow[word] = kept_or_new(2u * word, old & 0xffffu) | (kept_or_new(2u * word + 1u, old >> 16u) << 16u);
}`,
};

/** Writes f32 numbers to elements `first` on of an f16 tensor. */
export function recordNarrow(stream: Stream, wide: Span, out: View, first: number, count: number): void {
  const { span, base }: Binding = windowOf(out, first, count);
  stream.launch({
    kernel: narrowKernel,
    buffers: [wide, span],
    uniforms: uniformWords([base, count]),
    workgroups: gridOf(Math.ceil((count / 2 + 1) / INVOCATIONS)),
  });
}
