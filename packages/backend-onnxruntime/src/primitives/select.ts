import { type Shape, sizeOf } from '@topk-attention/core';
import { emitAscending } from '../emit/selection.js';
import type { Graph } from '../graph/graph.js';
import type { OnnxNode } from '../graph/node.js';
import type { GraphBuilder } from '../onnx/graph-builder.js';

/**
 * Among equal values the engine keeps the lower index, sorted or not (probed; a conformance case guards it). The result is
 * then ordered by index, with -inf entries last as unused slots.
 */
export function topK(graph: Graph, x: OnnxNode, k: number): { values: OnnxNode; indices: OnnxNode } {
  const shape = [...x.shape.slice(0, -1), k];
  const extent = x.shape.at(-1) as number;
  const [values, indices] = graph.addAll(
    {
      key: `topK[${k}]`,
      inputs: [x],
      emit: (onnx, [a]) => {
        const [largest, positions] = onnx.ops('TopK', [a as string, onnx.i64([k])], 2, { sorted: 0 });
        return emitAscending(onnx, largest as string, onnx.cast(positions as string, 'i32'), k, extent);
      },
    },
    [
      { shape, dtype: x.dtype },
      { shape, dtype: 'i32' },
    ],
  );
  return { values: values as OnnxNode, indices: indices as OnnxNode };
}

export function takeAlong(graph: Graph, x: OnnxNode, indices: OnnxNode): OnnxNode {
  const { dtype } = x;
  const extent = x.shape.at(-1) as number;
  return graph.add(
    {
      key: `takeAlong.${dtype}`,
      inputs: [x, indices],
      emit: (onnx, [a, at]) => {
        if (extent === 0) return [emitOutsides(onnx, at as string, dtype, indices.shape)];
        const safe = emitWithin(onnx, at as string, extent);
        const taken = onnx.op('GatherElements', [a as string, safe], { axis: -1 });
        return [emitUnlessOutside(onnx, at as string, safe, taken, dtype)];
      },
    },
    { shape: indices.shape, dtype },
  );
}

/** Indices that the engine may read at: it would wrap negative ones and fail on those past the end. */
function emitWithin(onnx: GraphBuilder, indices: string, extent: number): string {
  return onnx.op('Min', [onnx.op('Max', [indices, onnx.i32(0)]), onnx.i32(extent - 1)]);
}

/**
 * The values read, or their replacement if the index was outside. By `Where`, not by a weight of 0, because 0 * inf is NaN.
 * The indices have the shape of `values`, or that shape with a last extent of 1.
 */
function emitUnlessOutside(
  onnx: GraphBuilder,
  indices: string,
  within: string,
  values: string,
  dtype: OnnxNode['dtype'],
): string {
  const isInside = onnx.op('Equal', [indices, within]);
  if (dtype === 'bool') return onnx.op('And', [isInside, values]);
  return onnx.op('Where', [isInside, values, emitOutside(onnx, indices, dtype)]);
}

/** The replacement for each index outside of a table: 0 for -1 and for dtypes without NaN, else NaN. */
function emitOutside(onnx: GraphBuilder, indices: string, dtype: OnnxNode['dtype']): string {
  if (dtype !== 'f32' && dtype !== 'f16') return zero(onnx, dtype);
  const isUnused = onnx.op('Equal', [indices, onnx.i32(-1)]);
  const loud = onnx.op('Where', [isUnused, onnx.f32(0), onnx.f32(Number.NaN)]);
  return dtype === 'f32' ? loud : onnx.cast(loud, dtype);
}

/** The result for a table without entries. */
function emitOutsides(onnx: GraphBuilder, indices: string, dtype: OnnxNode['dtype'], shape: Shape): string {
  return onnx.filled(emitOutside(onnx, indices, dtype), shape);
}

/** A scalar 0. */
function zero(onnx: GraphBuilder, dtype: OnnxNode['dtype']): string {
  switch (dtype) {
    case 'f32':
      return onnx.f32(0);
    case 'i32':
      return onnx.i32(0);
    case 'bool':
      return onnx.bool(false);
    case 'f16':
      return onnx.cast(onnx.f32(0), 'f16');
    default:
      return dtype satisfies never;
  }
}

export function putAlong(graph: Graph, indices: OnnxNode, values: OnnxNode, n: number): OnnxNode {
  const { dtype } = values;
  const lead = indices.shape.slice(0, -1);
  const shape = [...lead, n];
  if (sizeOf(values.shape) === 0) return graph.constant(0, shape, dtype);
  return graph.add(
    {
      key: `putAlong[${n}].${dtype}`,
      inputs: [indices, values],
      emit: (onnx, [at, v]) => {
        const base = onnx.filled(zero(onnx, dtype), [...lead, n + 1]);
        const safe = emitDropped(onnx, at as string, n);
        const filled = onnx.op('ScatterElements', [base, safe, v as string], { axis: -1 });
        return [onnx.op('Slice', [filled, onnx.i64([0]), onnx.i64([n]), onnx.i64([lead.length])])];
      },
    },
    { shape, dtype },
  );
}

/** Indices outside [0, n) become n: an extra entry, which is cut off again. */
function emitDropped(onnx: GraphBuilder, indices: string, n: number): string {
  const isInside = onnx.op('And', [
    onnx.op('GreaterOrEqual', [indices, onnx.i32(0)]),
    onnx.op('Less', [indices, onnx.i32(n)]),
  ]);
  return onnx.op('Where', [isInside, indices, onnx.i32(n)]);
}

export function gatherRows(graph: Graph, x: OnnxNode, indices: OnnxNode): OnnxNode {
  const [batch, rows, width] = x.shape as readonly [number, number, number];
  const count = indices.shape[1] as number;
  const shape = [batch, count, width];
  return graph.add(
    {
      key: `gatherRows.${x.dtype}`,
      inputs: [x, indices],
      emit: (onnx, [a, at]) => {
        const ofRows = (one: string): string => onnx.reshape(one, [batch, count, 1]);
        if (rows === 0) return [emitOutsides(onnx, ofRows(at as string), x.dtype, shape)];
        const safe = emitWithin(onnx, at as string, rows);
        const gathered = onnx.op('Gather', [
          onnx.reshape(a as string, [batch * rows, width]),
          flat(onnx, safe, batch, rows),
        ]);
        return [emitUnlessOutside(onnx, ofRows(at as string), ofRows(safe), gathered, x.dtype)];
      },
    },
    { shape, dtype: x.dtype },
  );
}

/** Row numbers of each batch entry as rows of the whole [batch * rows, width]. */
function flat(onnx: GraphBuilder, indices: string, batch: number, rows: number): string {
  if (batch === 1) return indices;
  const offsets = onnx.op('Range', [onnx.i32(0), onnx.i32(batch * rows), onnx.i32(rows)]);
  return onnx.op('Add', [indices, onnx.reshape(offsets, [batch, 1])]);
}

/** ScatterElements adds one after the other; ScatterND's threads race on equal indices and lose sums. */
export function scatterAddRows(graph: Graph, n: number, indices: OnnxNode, updates: OnnxNode): OnnxNode {
  const [batch, count, width] = updates.shape as readonly [number, number, number];
  const { dtype } = updates;
  const shape = [batch, n, width];
  if (sizeOf(updates.shape) === 0) return graph.constant(0, shape, dtype);
  return graph.add(
    {
      key: `scatterAddRows[${n}].${dtype}`,
      inputs: [indices, updates],
      emit: (onnx, [at, u]) => {
        const base = onnx.filled(zero(onnx, dtype), [batch, n + 1, width]);
        const column = onnx.reshape(emitDropped(onnx, at as string, n), [batch, count, 1]);
        const everywhere = onnx.filled(column, [batch, count, width]);
        const sums = onnx.op('ScatterElements', [base, everywhere, u as string], {
          axis: 1,
          reduction: 'add',
        });
        return [onnx.op('Slice', [sums, onnx.i64([0]), onnx.i64([n]), onnx.i64([1])])];
      },
    },
    { shape, dtype },
  );
}
