import type { Binding } from '../../runtime/binding.js';
import { gridOf, type Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { kernelFamily, readFrom, write } from '../../wgsl/define-kernel.js';

const INVOCATIONS = 128;

/**
 * Numbers below this in magnitude cannot make a score overflow, whatever they are multiplied by: with a scale of at
 * most 1 a sum of `headDim` products stays below 2^127. Larger numbers, infinities and NaN are left to the slow path.
 */
export function largestSafe(headDim: number, scale: number): number {
  return Math.sqrt(2 ** 124 / (headDim * Math.max(1, Math.abs(scale))));
}

/**
 * Finds elements that could make scores overflow: for each key head the first key with an unsafe element, by atomic
 * minimum, which gives the same result in any order. Reads the keys once.
 */
const guardKernel = kernelFamily('attention sweeps guard', ({ half }: { readonly half: boolean }) => ({
  uniforms: { head_elements: 'u32', heads: 'u32', head_dim: 'u32', first_head: 'u32', largest: 'f32' },
  buffers: { x: readFrom('u32'), unsafe_key: write('atomic<u32>') },
  workgroup: INVOCATIONS,
  source: () => `
fn is_unsafe(bits: u32) -> bool {
  return (bits & 0x7fffffffu) > bitcast<u32>(params.largest);
}

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let stride = INVOCATIONS * groups.x;
  // A row of workgroups a head.
  for (var head = id.y; head < params.heads; head += groups.y) {
    for (var at = id.x; at < params.head_elements; at += stride) {
      let element = params.x_base + head * params.head_elements + at;
      ${
        half
          ? 'let bits = bitcast<u32>(unpack2x16float(x[element / 2u])[element % 2u]);'
          : 'let bits = x[element];'
      }
      if (is_unsafe(bits)) { atomicMin(&unsafe_key[params.first_head + head], at / params.head_dim); }
    }
  }
}`,
}));

/** Records the search over some key heads. `unsafe` has one u32 per key head, all bits set beforehand. */
export function recordGuard(
  stream: Stream,
  x: Binding,
  at: {
    readonly half: boolean;
    readonly firstHead: number;
    readonly heads: number;
    readonly keyLength: number;
    readonly headDim: number;
    readonly largest: number;
  },
  unsafe: Span,
): void {
  const elements = at.keyLength * at.headDim;
  const groups = Math.max(1, Math.min(256, Math.ceil(elements / (INVOCATIONS * 16))));
  guardKernel({ half: at.half }).launch(stream, {
    uniforms: {
      head_elements: elements,
      heads: at.heads,
      head_dim: at.headDim,
      first_head: at.firstHead,
      largest: at.largest,
    },
    buffers: { x, unsafe_key: unsafe },
    workgroups: [groups, Math.min(at.heads, gridOf(at.heads)[0]), 1],
  });
}
