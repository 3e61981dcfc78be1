import { sizeOf } from '@topk-attention/core';
import { storedBytes, windowOf } from '../runtime/binding.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import { kernelFamily, read, readFrom, writeTo } from '../wgsl/define-kernel.js';
import { doesNotFit, largestBytes } from './split-rows.js';
import { halfAt, mergeHalves } from './write-box.js';

/**
 * Writes x into dst along an axis, from the position in `start` on, clamped so that x fits. One invocation per word of dst
 * that x touches. Runs of x, one for each index of the axes before, leave at least one element between them, so that no
 * two of them share a word of f16.
 */
const kernel = kernelFamily('write at', ({ half }: { readonly half: boolean }) => ({
  uniforms: { rows: 'u32', words: 'u32', run: 'u32', inner: 'u32', dst_row: 'u32', last: 'u32' },
  buffers: { x: readFrom('u32'), dst: writeTo('u32'), start: read('i32') },
  workgroup: 64,
  source: () => `${halfAt}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let at = (workgroup.x + workgroup.y * groups.x) * INVOCATIONS + local;
  let words = params.words;
  if (at >= params.rows * words) { return; }
  let column = at % words;
  let run = params.run;
  let first = u32(clamp(start[0], 0, i32(params.last)));
  let source = params.x_base + at / words * run;
  let place = params.dst_base + at / words * params.dst_row + first * params.inner;
  ${half ? mergeHalves : 'dst[place + column] = x[source + column];'}
}`,
}));

export function recordWriteAt(stream: Stream, x: View, dst: View, axis: number, start: View): void {
  const [extent, length] = [dst.shape[axis] as number, x.shape[axis] as number];
  const inner = sizeOf(dst.shape.slice(axis + 1));
  const run = length * inner;
  const rows = sizeOf(x.shape) / run;
  const half = dst.dtype === 'f16';
  const bytes = sizeOf(dst.shape) * storedBytes(dst.dtype);
  if (bytes > largestBytes(stream)) throw doesNotFit(stream, 'a write at a position on the device', bytes);
  const words = half ? Math.floor(run / 2) + 1 : run;
  kernel({ half }).launch(stream, {
    uniforms: { rows, words, run, inner, dst_row: extent * inner, last: extent - length },
    buffers: {
      x: windowOf(x, 0, sizeOf(x.shape)),
      dst: windowOf(dst, 0, sizeOf(dst.shape)),
      start: start.span,
    },
    workgroups: { invocations: rows * words },
  });
}
