import { storedBytes, windowOf } from '../runtime/binding.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import { defineKernel, readFrom, writeTo } from '../wgsl/define-kernel.js';
import { loadBits, storeBits, storedElement } from '../wgsl/numbers.js';
import { forEachElement } from '../wgsl/text.js';
import { rowsOf, splitRows } from './split-rows.js';

/** One invocation per value, writing into zeros. Copies bits. */
const kernelOf = (half: boolean) =>
  defineKernel({
    key: `put-along${half ? ' f16' : ''}`,
    uniforms: { taken: 'u32', width: 'u32', count: 'u32' },
    buffers: { indices: readFrom('i32'), values: readFrom('u32'), out: writeTo(storedElement(half)) },
    workgroup: 64,
    source: () => `${loadBits('values', half)}
${storeBits('out', half)}
${forEachElement(`let j = indices[params.indices_base + at];
  if (j < 0 || u32(j) >= params.width) { return; }
  store_out(params.out_base + at / params.taken * params.width + u32(j), load_values(params.values_base + at));`)}`,
  });

/** Zeros, with values[..., j] stored at indices[..., j] of the last axis of `out`; an index outside is dropped. */
export function recordPutAlong(stream: Stream, indices: View, values: View, out: View): void {
  const { rows, width: taken } = rowsOf(indices.shape);
  const width = out.shape.at(-1) as number;
  if (rows * width === 0) return;
  const half = out.dtype === 'f16';
  const widest = Math.max(4 * taken, storedBytes(out.dtype) * width);
  stream.clear(windowOf(out, 0, rows * width).span);
  if (taken === 0) return;
  for (const { first, count } of splitRows(stream, 'putAlong', rows, widest)) {
    kernelOf(half).launch(stream, {
      uniforms: { taken, width, count: count * taken },
      buffers: {
        indices: windowOf(indices, first * taken, count * taken),
        values: windowOf(values, first * taken, count * taken),
        out: windowOf(out, first * width, count * width),
      },
      workgroups: { invocations: count * taken },
    });
  }
}
