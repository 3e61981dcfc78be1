import { f32Bits, gridOf, type Kernel, type Span, uniformWords } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';

const INVOCATIONS = 256;

const kernel: Kernel = {
  key: 'attention exact-backward scale',
  buffers: ['write'],
  source: () => `
struct Params { fours: u32, factor: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<vec4f>;
@compute @workgroup_size(${INVOCATIONS})
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = id.x + id.y * groups.x * ${INVOCATIONS}u;
  if (at < params.fours) { x[at] = params.factor * x[at]; }
}`,
};

/** Multiplies `count` f32, whole fours of them, in place. */
export function recordScale(stream: Stream, x: Span, count: number, factor: number): void {
  stream.launch({
    kernel,
    buffers: [x],
    uniforms: uniformWords([count / 4, f32Bits(factor)]),
    workgroups: gridOf(Math.ceil(count / 4 / INVOCATIONS)),
  });
}
