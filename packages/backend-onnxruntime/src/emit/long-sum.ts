import type { Shape } from '@topk-attention/core';
import type { GraphBuilder } from '../onnx/graph-builder.js';

/**
 * Terms that the engine may add up in one go. It has eight to sixteen accumulators for the values of a row, and one for those of
 * a column: equal terms then come out within 5e-6 of their sum. A million of them in one go are off by 1e-3 and 1e-2.
 */
const LONGEST_ROW = 2048;
const LONGEST_COLUMN = 512;
/** Terms per partial sum of a longer sum. */
const BLOCK = 64;
const SMALLEST_BLOCK = 8;

/** Neighbouring axes that are all summed, or all kept. */
interface Run {
  readonly extent: number;
  readonly isSummed: boolean;
}

/** Sum over `axes`, kept as extent 1. Long ones in stages: partial sums, and sums of those. */
export function emitSum(onnx: GraphBuilder, x: string, shape: Shape, axes: readonly number[]): string {
  let runs = runsOf(shape, axes);
  if (!isLong(runs)) return onnx.op('ReduceSum', [x, onnx.i64(axes)], { keepdims: 1 });
  let sums = onnx.reshape(x, extentsOf(runs));
  while (termsOf(runs) > BLOCK) {
    const longest = Math.max(...runs.map(({ extent, isSummed }) => (isSummed ? extent : 0)));
    const at = runs.findIndex(({ extent, isSummed }) => isSummed && extent === longest);
    [sums, runs] = emitStage(onnx, sums, runs, at);
  }
  const left = runs.flatMap(({ isSummed }, at) => (isSummed ? [at] : []));
  sums = onnx.op('ReduceSum', [sums, onnx.i64(left)], { keepdims: 1 });
  const result = shape.map((extent, axis) => (axes.includes(axis) ? 1 : extent));
  return onnx.reshape(sums, result);
}

/** Sums one run in blocks, which leaves one entry per block. */
function emitStage(
  onnx: GraphBuilder,
  x: string,
  runs: readonly Run[],
  at: number,
): readonly [string, readonly Run[]] {
  const { extent } = runs[at] as Run;
  const block = blockOf(extent);
  const whole = extent - (extent % block);
  const before = extentsOf(runs.slice(0, at));
  const after = extentsOf(runs.slice(at + 1));
  const part = (from: number, to: number): string =>
    from === 0 && to === extent ? x : onnx.op('Slice', [x, onnx.i64([from]), onnx.i64([to]), onnx.i64([at])]);
  const inBlocks = onnx.reshape(part(0, whole), [...before, whole / block, block, ...after]);
  let sums = onnx.op('ReduceSum', [inBlocks, onnx.i64([at + 1])], { keepdims: 0 });
  if (whole < extent) {
    const rest = onnx.op('ReduceSum', [part(whole, extent), onnx.i64([at])], { keepdims: 1 });
    sums = onnx.op('Concat', [sums, rest], { axis: at });
  }
  const shorter: Run = { extent: Math.ceil(extent / block), isSummed: true };
  return [sums, runs.map((run, index) => (index === at ? shorter : run))];
}

/** A block size that divides the extent, since a remainder has to be copied; else the usual one. */
export function blockOf(extent: number, largest: number = BLOCK): number {
  for (let block = Math.min(largest, extent); block >= SMALLEST_BLOCK; block--) {
    if (extent % block === 0) return block;
  }
  return Math.min(largest, extent);
}

function runsOf(shape: Shape, axes: readonly number[]): readonly Run[] {
  const runs: Run[] = [];
  for (const [axis, extent] of shape.entries()) {
    const isSummed = axes.includes(axis);
    const last = runs.at(-1);
    if (last?.isSummed === isSummed) runs[runs.length - 1] = { extent: last.extent * extent, isSummed };
    else runs.push({ extent, isSummed });
  }
  return runs;
}

function isLong(runs: readonly Run[]): boolean {
  const isRow = runs.filter(({ isSummed }) => isSummed).length === 1 && runs.at(-1)?.isSummed === true;
  return termsOf(runs) > (isRow ? LONGEST_ROW : LONGEST_COLUMN);
}

function termsOf(runs: readonly Run[]): number {
  return runs.reduce((terms, { extent, isSummed }) => (isSummed ? terms * extent : terms), 1);
}

function extentsOf(runs: readonly Run[]): number[] {
  return runs.map(({ extent }) => extent);
}
