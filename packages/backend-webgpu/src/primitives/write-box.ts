import { sizeOf } from '@topk-attention/core';
import { stridesOf } from '@topk-attention/core/backend';
import { storedBytes, windowOf } from '../runtime/binding.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import { defineKernel, readFrom, writeTo } from '../wgsl/define-kernel.js';
import { range } from '../wgsl/text.js';
import { doesNotFit, largestBytes } from './split-rows.js';
import { collapse, type Walk } from './strides.js';

/**
 * Writes x into dst at `starts`. One invocation per word of dst that the box touches: after joining axes, runs of the
 * box neither touch nor share a word of f16, so that a single invocation reads, merges and writes a word with a
 * foreign half.
 */
export function recordWriteBox(stream: Stream, x: View, dst: View, starts: readonly number[]): void {
  if (sizeOf(x.shape) === 0) return;
  const own = stridesOf(dst.shape);
  const start = starts.reduce((sum, at, axis) => sum + at * (own[axis] as number), 0);
  const joined = collapse({ extents: x.shape, strides: [stridesOf(x.shape), own] });
  // The last axis is the run, contiguous in both; a box of single elements has runs of 1.
  const isRun = joined.extents.length > 0 && joined.strides.every((strides) => strides.at(-1) === 1);
  const walk: Walk = isRun
    ? joined
    : { extents: [...joined.extents, 1], strides: joined.strides.map((strides) => [...strides, 1]) };
  const half = dst.dtype === 'f16';
  const run = walk.extents.at(-1) as number;
  const outer = walk.extents.slice(0, -1);
  const rows = outer.reduce((a, b) => a * b, 1);
  const bytes = storedBytes(dst.dtype);
  const fromAll = windowOf(x, 0, sizeOf(x.shape));
  const first = outer.length === 0 ? run : (outer[0] as number);
  const [fromStrides, toStrides] = walk.strides as readonly [readonly number[], readonly number[]];
  // Pieces along the first axis whose windows the device allows.
  const limit = largestBytes(stream);
  const widest = Math.max((fromStrides[0] as number) * bytes, (toStrides[0] as number) * bytes);
  const reachOf = (strides: readonly number[], steps: number): number =>
    walk.extents.reduce(
      (sum, extent, axis) => sum + ((axis === 0 ? steps : extent) - 1) * (strides[axis] as number),
      1,
    );
  const fitting = Math.floor(limit / Math.max(1, widest));
  const step = fitting >= first ? first : fitting - (fitting % 2);
  if (step < 1)
    throw doesNotFit(stream, 'a write into part of a tensor', Math.max(widest, fromAll.span.size));
  for (let at = 0; at < first; at += step) {
    const steps = Math.min(step, first - at);
    const rowCount = outer.length === 0 ? 1 : (rows / first) * steps;
    const runLength = outer.length === 0 ? steps : run;
    const words = half ? Math.floor(runLength / 2) + 1 : runLength;
    boxKernel(half, outer.length).launch(stream, {
      uniforms: {
        rows: rowCount,
        words,
        run: runLength,
        extents: outer,
        x_steps: fromStrides.slice(0, -1),
        dst_steps: toStrides.slice(0, -1),
      },
      buffers: {
        x: windowOf(x, at * (fromStrides[0] as number), reachOf(fromStrides, steps)),
        dst: windowOf(dst, start + at * (toStrides[0] as number), reachOf(toStrides, steps)),
      },
      workgroups: { invocations: rowCount * words },
    });
  }
}

const boxKernel = (half: boolean, rank: number) =>
  defineKernel({
    key: `write box ${half ? 16 : 32} rank ${rank}`,
    uniforms: {
      rows: 'u32',
      words: 'u32',
      run: 'u32',
      extents: ['u32', rank],
      x_steps: ['u32', rank],
      dst_steps: ['u32', rank],
    },
    buffers: { x: readFrom('u32'), dst: writeTo('u32') },
    workgroup: 64,
    source: () => boxSource(half, rank),
  });

function boxSource(half: boolean, rank: number): string {
  const steps = range(rank).map((index) => {
    const axis = rank - 1 - index;
    const extent = `params.extents_${axis}`;
    return `step = ${axis === 0 ? 'rest' : `rest % ${extent}; rest /= ${extent}`};
  source += step * params.x_steps_${axis}; place += step * params.dst_steps_${axis};`;
  });
  return `${halfAt}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let at = (workgroup.x + workgroup.y * groups.x) * INVOCATIONS + local;
  let per_row = params.words;
  if (at >= params.rows * per_row) { return; }
  var rest = at / per_row;
  let column = at % per_row;
  let run = params.run;
  var source = params.x_base;
  var place = params.dst_base;
  var step = 0u;
  ${steps.join('\n  ')}
  ${half ? mergeHalves : 'dst[place + column] = x[source + column];'}
}`;
}

/** `half_at(at)`: the bits of an element of the f16 tensor `x`. */
export const halfAt = `fn half_at(at: u32) -> u32 { return (x[at / 2u] >> (16u * (at % 2u))) & 0xffffu; }`;

/** Writes word `column` of a row of f16, from `place` on, of which the row owns one half or both. */
export const mergeHalves = `let target_word = place / 2u + column;
  // Elements 2 * target_word and the next, of which those from \`place\` to \`place + run - 1\` are the row's.
  let low = 2u * target_word;
  if (low >= place + run) { return; }
  var bits = dst[target_word];
  if (low >= place) { bits = (bits & 0xffff0000u) | half_at(source + low - place); }
  if (low + 1u < place + run) { bits = (bits & 0xffffu) | (half_at(source + low + 1u - place) << 16u); }
  dst[target_word] = bits;`;
