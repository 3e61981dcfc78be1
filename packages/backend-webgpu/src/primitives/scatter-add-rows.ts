import { storedBytes, windowOf } from '../runtime/binding.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import { defineKernel, readFrom, writeTo } from '../wgsl/define-kernel.js';
import { halfOf, loadFloat } from '../wgsl/numbers.js';
import { recordPartSums, takesPartSums } from './part-sums.js';
import { recordSegmentSums, type SummedElement } from './segment-sums.js';
import { recordSortByRow } from './sort-by-row.js';
import { splitRows } from './split-rows.js';

/** One invocation per element (for f16, per word) of the result; each looks at every index. */
function directKernel(element: SummedElement) {
  const half = element === 'f16';
  const sum = half ? 'f32' : element;
  return defineKernel({
    key: `scatter-add-rows direct ${element}`,
    uniforms: { rows: 'u32', updates: 'u32', width: 'u32', count: 'u32' },
    buffers: { indices: readFrom('i32'), updates: readFrom('u32'), out: writeTo(half ? 'u32' : sum) },
    workgroup: 64,
    source: () => `${half ? halfOf : ''}
${half ? loadFloat('updates', true) : `fn load_updates(at: u32) -> ${sum} { return bitcast<${sum}>(updates[at]); }`}

fn sum_at(at: u32) -> ${sum} {
  let row = i32(at / params.width % params.rows);
  let first = at / (params.width * params.rows) * params.updates;
  let column = params.updates_base + at % params.width;
  var sum = ${sum}();
  for (var i = first; i < first + params.updates; i++) {
    if (indices[params.indices_base + i] == row) { sum += load_updates(i * params.width + column); }
  }
  return sum;
}

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = id.x + id.y * groups.x * INVOCATIONS;
  ${
    half
      ? `if (2u * at >= params.count) { return; }
  var bits = half_of(sum_at(2u * at));
  if (2u * at + 1u < params.count) { bits |= half_of(sum_at(2u * at + 1u)) << 16u; }
  out[params.out_base / 2u + at] = bits;`
      : `if (at >= params.count) { return; }
  out[params.out_base + at] = sum_at(at);`
  }
}`,
  });
}

/** Up to this many index comparisons, looking at every index costs less than sorting them. */
const FEW_COMPARISONS = 2 ** 24;
/** The same for the entries that an invocation goes through one after the other, where there is no batch: a choice. */
const FEW_ENTRIES = 256;

/** 'parts': of one table, such as the gradient of an embedding. */
export type ScatterVariant = 'direct' | 'parts' | 'sorted';

/**
 * indices i32 [B, M], updates [B, M, D] -> out [B, n, D]: sums of the updates of each row, in a fixed order; an index
 * outside the rows is dropped. `variant` overrides the choice by shape.
 */
export function recordScatterAddRows(
  stream: Stream,
  indices: View,
  updates: View,
  out: View,
  variant?: ScatterVariant,
): void {
  const [batch, count, width] = updates.shape as readonly [number, number, number];
  const rows = out.shape[1] as number;
  if (batch * rows * width === 0) return;
  const element = out.dtype === 'f16' ? 'f16' : out.dtype === 'f32' ? 'f32' : 'i32';
  const { bindingBytes } = stream.facts;
  const mayPart = batch === 1 && element !== 'f16' && takesPartSums({ rows, count, width }, bindingBytes);
  const isFew = batch * rows * width * count <= FEW_COMPARISONS && (!mayPart || count <= FEW_ENTRIES);
  const chosen = variant ?? (isFew ? 'direct' : mayPart ? 'parts' : 'sorted');
  // Sums of f16 that share a word are or-ed into it.
  if (count === 0 || (element === 'f16' && chosen === 'sorted')) {
    stream.clear(windowOf(out, 0, batch * rows * width).span);
  }
  if (count === 0) return;
  const bytes = storedBytes(out.dtype);
  const widest = Math.max(rows * width * bytes, count * Math.max(8, width * bytes));
  const together = element === 'f16' && (rows * width) % 2 === 1 ? 2 : 1;
  for (const range of splitRows(stream, 'scatterAddRows', batch, widest, together)) {
    const at = windowOf(indices, range.first * count, range.count * count);
    const from = windowOf(updates, range.first * count * width, range.count * count * width);
    const to = windowOf(out, range.first * rows * width, range.count * rows * width);
    if (chosen === 'parts' && element !== 'f16') {
      recordPartSums(stream, at, from, to, { rows, count, width }, element);
      continue;
    }
    if (chosen === 'sorted') {
      const entries = recordSortByRow(stream, at, { batch: range.count, taken: count, rows });
      const sizes = { rows: range.count * rows, entries: range.count * count, width };
      recordSegmentSums(stream, entries, from, to, sizes, element);
      stream.release(entries);
      continue;
    }
    const elements = range.count * rows * width;
    directKernel(element).launch(stream, {
      uniforms: { rows, updates: count, width, count: elements },
      buffers: { indices: at, updates: from, out: to },
      workgroups: { invocations: element === 'f16' ? Math.ceil(elements / 2) : elements },
    });
  }
}
