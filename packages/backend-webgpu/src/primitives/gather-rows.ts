import type { DType } from '@topk-attention/core';
import { type Binding, storedBytes, windowOf } from '../runtime/binding.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import { defineKernel, readFrom, writeTo } from '../wgsl/define-kernel.js';
import { forEachElement } from '../wgsl/text.js';
import { doesNotFit, largestBytes, type RowRange, splitRows } from './split-rows.js';

/** What an invocation copies: four words, one word, or the two halves of a word that may come from different rows. */
type Unit = 'vec4' | 'word' | 'halves';

/** Copies bits. Reads each index once per unit and each taken row once, writes the result once. */
function kernelOf(unit: Unit) {
  const word = unit === 'vec4' ? 'vec4u' : 'u32';
  return defineKernel({
    key: `gather-rows ${unit}`,
    uniforms: { rows: 'u32', taken: 'u32', width: 'u32', count: 'u32', outside: 'u32' },
    buffers: { x: readFrom(word), indices: readFrom('i32'), out: writeTo(word) },
    workgroup: 64,
    source: () => `${sourceOf}
${unit === 'halves' ? copyHalves : copyWords(word)}`,
  });
}

const sourceOf = `
/** Where in x element \`at\` of the result comes from, in units; nowhere for index -1 and those outside of the table. */
const NONE = 0xffffffffu;
const OUTSIDE = 0xfffffffeu;
fn source_of(at: u32) -> u32 {
  let slot = at / params.width;
  let row = indices[params.indices_base + slot];
  if (row == -1) { return NONE; }
  if (row < 0 || u32(row) >= params.rows) { return OUTSIDE; }
  return params.x_base + (slot / params.taken * params.rows + u32(row)) * params.width + at % params.width;
}`;

const copyWords = (word: string): string =>
  forEachElement(`let source = source_of(at);
  if (source == NONE) {
    out[params.out_base + at] = ${word}(0u);
  } else if (source == OUTSIDE) {
    out[params.out_base + at] = ${word}(params.outside);
  } else {
    out[params.out_base + at] = x[source];
  }`);

const copyHalves = `fn half_at(at: u32) -> u32 {
  let source = source_of(at);
  if (source == NONE) { return 0u; }
  if (source == OUTSIDE) { return params.outside & 0xffffu; }
  return (x[source / 2u] >> (16u * (source % 2u))) & 0xffffu;
}

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let word = id.x + id.y * groups.x * INVOCATIONS;
  let end = params.out_base + params.count;
  if (2u * word >= end) { return; }
  // A half outside the range belongs to another launch.
  var bits = out[word];
  if (2u * word >= params.out_base) { bits = (bits & 0xffff0000u) | half_at(2u * word - params.out_base); }
  if (2u * word + 1u < end) { bits = (bits & 0xffffu) | (half_at(2u * word + 1u - params.out_base) << 16u); }
  out[word] = bits;
}`;

/** The word for an index outside the table: NaN in floats (twice in a word of halves), otherwise 0. */
function outsideWord(dtype: DType): number {
  if (dtype === 'f32') return 0x7fc00000;
  return dtype === 'f16' ? 0x7e007e00 : 0;
}

/** x [B, N, D], indices i32 [B, M] -> out [B, M, D]; index -1 gives zeros, any other index outside the table NaN. */
export function recordGatherRows(stream: Stream, x: View, indices: View, out: View): void {
  const [batch, rows, width] = x.shape as readonly [number, number, number];
  recordGather(stream, x, indices, out, { batch, rows, taken: indices.shape[1] as number, width });
}

export interface GatherSizes {
  readonly batch: number;
  readonly rows: number;
  readonly taken: number;
  readonly width: number;
}

/** The same for any views of these sizes. */
export function recordGather(stream: Stream, x: View, indices: View, out: View, sizes: GatherSizes): void {
  const { batch, rows, taken, width } = sizes;
  if (batch * taken * width === 0) return;
  const bytes = storedBytes(x.dtype);
  const fits = Math.max(rows * width * bytes, taken * Math.max(4, width * bytes));
  if (fits < stream.device.limits.maxStorageBufferBindingSize / 2) {
    for (const range of splitRows(stream, 'gatherRows', batch, fits)) {
      launch(stream, x, indices, out, { ...sizes, batch: range.count }, range.first, 0);
    }
    return;
  }
  if (rows * width * bytes > largestBytes(stream)) {
    throw doesNotFit(stream, 'gatherRows', rows * width * bytes);
  }
  const parts: RowRange[] = splitRows(stream, 'gatherRows', taken, Math.max(4, width * bytes));
  for (let b = 0; b < batch; b++) {
    for (const { first, count } of parts) {
      launch(stream, x, indices, out, { ...sizes, batch: 1, taken: count }, b, b * taken + first);
    }
  }
}

/**
 * `sizes.batch` matrices of x, starting at `firstMatrix`; indices start at `firstIndex`, or at those of that matrix.
 */
function launch(
  stream: Stream,
  x: View,
  indices: View,
  out: View,
  { batch, rows, taken, width }: GatherSizes,
  firstMatrix: number,
  firstIndex: number,
): void {
  const start = firstIndex === 0 ? firstMatrix * taken : firstIndex;
  const from = windowOf(x, firstMatrix * rows * width, batch * rows * width);
  const at = windowOf(indices, start, batch * taken);
  const to = windowOf(out, start * width, batch * taken * width);
  const { unit, elements } = unitOf(x.dtype, width, from.base, to.base);
  const count = (batch * taken * width) / elements;
  const inUnits = ({ span, base }: Binding): Binding => ({ span, base: base / elements });
  kernelOf(unit).launch(stream, {
    uniforms: { rows, taken, width: width / elements, count, outside: outsideWord(x.dtype) },
    buffers: { x: inUnits(from), indices: at, out: inUnits(to) },
    workgroups: { invocations: unit === 'halves' ? Math.ceil((to.base + count) / 2) : count },
  });
}

/** The widest unit that divides rows and both windows, and its number of elements. */
function unitOf(
  dtype: DType,
  width: number,
  ...bases: readonly number[]
): { readonly unit: Unit; readonly elements: number } {
  const perWord = 4 / storedBytes(dtype);
  const divides = (elements: number): boolean => [width, ...bases].every((each) => each % elements === 0);
  if (divides(4 * perWord)) return { unit: 'vec4', elements: 4 * perWord };
  return divides(perWord) ? { unit: 'word', elements: perWord } : { unit: 'halves', elements: 1 };
}
