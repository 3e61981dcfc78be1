import { type DType, isFloat, type Shape, sizeOf } from '@topk-attention/core';
import { stridesOf } from '@topk-attention/core/backend';
import { wholeOf, windowOf } from '../runtime/binding.js';
import type { Stream } from '../runtime/stream.js';
import { storageBytes, type View } from '../runtime/view.js';
import { defineKernel, readFrom, writeTo } from '../wgsl/define-kernel.js';
import { range } from '../wgsl/text.js';
import { MOST_COLUMNS, recordColumnSums } from './column-sums.js';
import { recordCast } from './elementwise.js';
import { helperText } from './elementwise-wgsl.js';
import { recordFill } from './fill.js';
import { doesNotFit, largestBytes } from './split-rows.js';
import { collapse } from './strides.js';

export type Reduction = 'sum' | 'max';

/** From this many elements on, a workgroup shares a row; below, one invocation walks it. */
const SHARED_FROM = 256;
const INVOCATIONS = 64;
/** Up to this many elements four rows share a workgroup: one for each row would do little more than start and end. */
const FEW_LANES_TO = 512;
const FEW_LANES = 16;
/** Work is cut until about this many invocations run, or the elements run out. */
const WANTED_INVOCATIONS = 1 << 17;
/** From this many rows on, columns are summed by workgroups that walk several rows side by side. */
const LEAST_ROWS = 128;
/** Fewest elements worth a separate part. */
const LEAST_PART = 1024;

/**
 * Sum or max over `axes`, which `out` keeps with extent 1. The order of summation follows from the shapes alone:
 * parts; inside a part, by invocations (interleaved) and then a tree; then over the parts. (For tensors larger than a
 * binding, it also depends on the device's largest binding.)
 */
export function recordReduce(
  stream: Stream,
  reduction: Reduction,
  x: View,
  axes: readonly number[],
  out: View,
): void {
  const outputs = sizeOf(out.shape);
  if (outputs === 0) return;
  if (sizeOf(x.shape) === 0) {
    const least = isFloat(x.dtype) ? Number.NEGATIVE_INFINITY : -(2 ** 31);
    recordFill(stream, reduction === 'sum' ? 0 : least, out);
    return;
  }
  // Axes of extent 1 are irrelevant; without them the first one is worth cutting.
  const own = x.shape.flatMap((extent, axis) =>
    extent === 1 ? [] : [{ extent, reduced: axes.includes(axis) }],
  );
  const box: Box = {
    x,
    first: 0,
    shape: own.map(({ extent }) => extent),
    reduced: own.map(({ reduced }) => reduced),
  };
  if (out.dtype === 'f16' && !(fitsBinding(stream, box) && isByColumns(reduction, box))) {
    const wide = temporary(stream, out.shape, 'f32');
    recordReduce(stream, reduction, x, axes, wide);
    recordCast(stream, wide, out);
    stream.release(wide.span);
    return;
  }
  reduceInto(stream, reduction, box, out, 0);
}

/**
 * Reduces a box of any size into elements of `out` starting at `firstOut`; a box too large for a binding is cut along
 * the first axis.
 */
function reduceInto(stream: Stream, reduction: Reduction, box: Box, out: View, firstOut: number): void {
  const { x, first, shape, reduced } = box;
  const limit = largestBytes(stream);
  if (fitsBinding(stream, box)) {
    reduceBox(stream, reduction, box, out, firstOut);
    return;
  }
  const [extent = 1, ...rest] = shape;
  const perStep = sizeOf(rest);
  const step = Math.max(1, Math.floor(limit / (4 * perStep)));
  const pieces = Array.from({ length: Math.ceil(extent / step) }, (_, index): Box => {
    const count = Math.min(step, extent - index * step);
    const from = first + index * step * perStep;
    return count === 1
      ? { x, first: from, shape: rest, reduced: reduced.slice(1) }
      : { x, first: from, shape: [count, ...rest], reduced };
  });
  const outputsPerStep = sizeOf(rest.filter((_, axis) => reduced[axis + 1] === false));
  if (reduced[0] === false) {
    for (const [index, piece] of pieces.entries()) {
      reduceInto(stream, reduction, piece, out, firstOut + index * step * outputsPerStep);
    }
    return;
  }
  // The sums of the pieces are a box like this one; if it is not smaller, the recursion never ends.
  if (4 * pieces.length * outputsPerStep > limit && pieces.length === extent) {
    throw doesNotFit(stream, `${reduction} over a leading axis`, 4 * pieces.length * outputsPerStep);
  }
  const partials = temporary(stream, [pieces.length, outputsPerStep], out.dtype);
  for (const [index, piece] of pieces.entries()) {
    reduceInto(stream, reduction, piece, partials, index * outputsPerStep);
  }
  const sums: Box = { x: partials, first: 0, shape: partials.shape, reduced: [true, false] };
  reduceInto(stream, reduction, sums, out, firstOut);
  stream.release(partials.span);
}

/** Consecutive elements of a tensor, and which of their axes are reduced. */
interface Box {
  readonly x: View;
  /** The first element. */
  readonly first: number;
  readonly shape: Shape;
  /** For each axis. */
  readonly reduced: readonly boolean[];
}

function fitsBinding(stream: Stream, { shape }: Box): boolean {
  return 4 * sizeOf(shape) <= largestBytes(stream);
}

/** Whether the sums are over many rows of columns: of floats, over leading axes and no others. */
function isByColumns(reduction: Reduction, { x, shape, reduced }: Box): boolean {
  const width = sizeOf(shape.filter((_, axis) => reduced[axis] === false));
  const isLeading = reduced[0] === true && reduced.lastIndexOf(true) < reduced.indexOf(false);
  const rows = sizeOf(shape) / width;
  return reduction === 'sum' && isFloat(x.dtype) && isLeading && rows >= LEAST_ROWS && width <= MOST_COLUMNS;
}

/** Reduces a box that fits one binding into elements of `out` starting at `firstOut`. */
function reduceBox(stream: Stream, reduction: Reduction, box: Box, out: View, firstOut: number): void {
  const { x, shape } = box;
  if (isByColumns(reduction, box)) {
    const width = sizeOf(shape.filter((_, axis) => box.reduced[axis] === false));
    const rows = sizeOf(shape) / width;
    recordColumnSums(stream, {
      ...{ x: windowOf(x, box.first, rows * width), out: windowOf(out, firstOut, width), rows, width },
      ...{ halfIn: x.dtype === 'f16', halfOut: out.dtype === 'f16' },
    });
    return;
  }
  const kept = walkOf(box, false);
  const reduced = walkOf(box, true);
  const outputs = sizeOf(kept.extents);
  const length = sizeOf(reduced.extents);
  const shared = length >= SHARED_FROM && (reduced.steps.at(-1) ?? 1) === 1;
  const lanes = !shared ? 1 : length <= FEW_LANES_TO ? FEW_LANES : INVOCATIONS;
  const wanted = Math.ceil(WANTED_INVOCATIONS / (outputs * lanes));
  const parts = Math.max(1, Math.min(wanted, Math.ceil(length / LEAST_PART)));
  const partials = parts === 1 ? undefined : temporary(stream, [parts, outputs], out.dtype);
  const units = outputs * parts;
  reduceKernel(reduction, x.dtype, lanes, kept.extents.length, reduced.extents.length).launch(stream, {
    uniforms: {
      outputs,
      parts,
      length,
      part_length: Math.ceil(length / parts),
      kept_extents: kept.extents,
      kept_steps: kept.steps,
      reduced_extents: reduced.extents,
      reduced_steps: reduced.steps,
    },
    buffers: {
      x: windowOf(x, box.first, sizeOf(shape)),
      out: partials === undefined ? windowOf(out, firstOut, outputs) : wholeOf(partials.span),
    },
    workgroups: { invocations: units * lanes },
  });
  if (partials === undefined) return;
  const sums: Box = { x: partials, first: 0, shape: [parts, outputs], reduced: [true, false] };
  reduceBox(stream, reduction, sums, out, firstOut);
  stream.release(partials.span);
}

/** The axes that are (or are not) reduced, joined where possible. */
function walkOf(
  { shape, reduced }: Box,
  which: boolean,
): { extents: readonly number[]; steps: readonly number[] } {
  const strides = stridesOf(shape);
  const axes = shape.map((_, axis) => axis).filter((axis) => reduced[axis] === which);
  const walk = collapse({
    extents: axes.map((axis) => shape[axis] as number),
    strides: [axes.map((axis) => strides[axis] as number)],
  });
  return { extents: walk.extents, steps: walk.strides[0] as readonly number[] };
}

function temporary(stream: Stream, shape: readonly number[], dtype: DType): View {
  return { span: stream.scratch(storageBytes(shape, dtype)), shape, dtype };
}

function reduceKernel(
  reduction: Reduction,
  dtype: DType,
  lanes: number,
  keptRank: number,
  reducedRank: number,
) {
  return defineKernel({
    key: `reduce ${reduction} ${dtype}${lanes > 1 ? ` shared by ${lanes}` : ''} ranks ${keptRank} ${reducedRank}`,
    uniforms: {
      outputs: 'u32',
      parts: 'u32',
      length: 'u32',
      part_length: 'u32',
      kept_extents: ['u32', keptRank],
      kept_steps: ['u32', keptRank],
      reduced_extents: ['u32', reducedRank],
      reduced_steps: ['u32', reducedRank],
    },
    buffers: { x: readFrom('u32'), out: writeTo('u32') },
    workgroup: INVOCATIONS,
    source: () => reduceSource(reduction, dtype, lanes, keptRank, reducedRank),
  });
}

/**
 * How a reduction holds what it has seen: sums as numbers, maxima as ordered keys, so that no arithmetic involves
 * infinities.
 */
function accumulator(
  reduction: Reduction,
  dtype: DType,
): Record<'type' | 'start' | 'load' | 'join' | 'store', string> {
  const float = isFloat(dtype);
  if (reduction === 'sum') {
    const type = float ? 'f32' : 'i32';
    return {
      type,
      start: float ? '0.0' : '0',
      load: `bitcast<${type}>(bits)`,
      join: 'a + b',
      store: 'bitcast<u32>(total)',
    };
  }
  return {
    type: 'u32',
    start: '0u',
    load: float ? 'key_of(bits)' : 'bits ^ 0x80000000u',
    join: 'max(a, b)',
    store: float
      ? 'total ^ select(0xffffffffu, 0x80000000u, (total & 0x80000000u) != 0u)'
      : 'total ^ 0x80000000u',
  };
}

function reduceSource(
  reduction: Reduction,
  dtype: DType,
  lanes: number,
  keptRank: number,
  reducedRank: number,
): string {
  const { type, start, load, join, store } = accumulator(reduction, dtype);
  const offset = (name: 'kept' | 'reduced', rank: number): string => {
    const steps = range(rank).map((index) => {
      const axis = rank - 1 - index;
      const [extent, step] = [`params.${name}_extents_${axis}`, `params.${name}_steps_${axis}`];
      return axis === 0 ? `at += rest * ${step};` : `at += rest % ${extent} * ${step}; rest /= ${extent};`;
    });
    return `fn ${name}_offset(index: u32) -> u32 { var rest = index; var at = 0u; ${steps.join(' ')} return at; }`;
  };
  const bits = dtype === 'f16' ? 'half_to_bits((x[at / 2u] >> (16u * (at % 2u))) & 0xffffu)' : 'x[at]';
  return `${helperText([...(dtype === 'f16' ? ['halfToBits' as const] : []), ...(reduction === 'max' && isFloat(dtype) ? ['key' as const] : [])])}
${offset('kept', keptRank)}
${offset('reduced', reducedRank)}
fn load(at: u32) -> ${type} { let bits = ${bits}; return ${load}; }
fn join(a: ${type}, b: ${type}) -> ${type} { return ${join}; }
${lanes > 1 ? `var<workgroup> totals: array<${type}, INVOCATIONS>;` : ''}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let outputs = params.outputs;
  let unit = ((workgroup.x + workgroup.y * groups.x) * INVOCATIONS + local) / ${lanes}u;
  let lane = local % ${lanes}u;
  let is_unit = unit < outputs * params.parts;
  let start = params.x_base + kept_offset(unit % outputs);
  let part = unit / outputs;
  let first = part * params.part_length;
  let end = select(0u, min(params.length, first + params.part_length), is_unit);
  var total = ${type}(${start});
  for (var j = first + lane; j < end; j += ${lanes}u) {
    total = join(total, load(start + reduced_offset(j)));
  }
  ${lanes > 1 ? treeReduction(lanes) : ''}
  if (is_unit && lane == 0u) { out[params.out_base + unit] = ${store}; }
}`;
}

const treeReduction = (lanes: number): string => `totals[local] = total;
  workgroupBarrier();
  for (var step = ${lanes / 2}u; step > 0u; step >>= 1u) {
    if (lane < step) { totals[local] = join(totals[local], totals[local + step]); }
    workgroupBarrier();
  }
  total = totals[local];`;
