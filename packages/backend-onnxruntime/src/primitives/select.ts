import { sizeOf } from '@topk-attention/core';
import type { Graph } from '../graph/graph.js';
import type { OnnxNode } from '../graph/node.js';
import type { GraphBuilder } from '../onnx/graph-builder.js';

const MINUS_INFINITY = Number.NEGATIVE_INFINITY;

/**
 * The engine keeps the lower index among equal values, sorted or not (probed; a conformance case guards it). What is
 * left to do is the order: ascending by index, -inf entries last as unused slots.
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
        return ascending(onnx, largest as string, onnx.cast(positions as string, 'i32'), k, extent);
      },
    },
    [
      { shape, dtype: x.dtype },
      { shape, dtype: 'i32' },
    ],
  );
  return { values: values as OnnxNode, indices: indices as OnnxNode };
}

/** Orders kept entries by index; entries of -inf go last with index -1. */
export function ascending(
  onnx: GraphBuilder,
  values: string,
  positions: string,
  k: number,
  extent: number,
): readonly [values: string, indices: string] {
  const isUnused = onnx.op('Equal', [values, onnx.f32(MINUS_INFINITY)]);
  const keys = onnx.op('Where', [isUnused, onnx.i32(extent), positions]);
  if (k === 1) return [values, onnx.op('Where', [isUnused, onnx.i32(-1), positions])];
  const [sorted, order] = onnx.ops('TopK', [keys, onnx.i64([k])], 2, { largest: 0, sorted: 1 });
  const stillUnused = onnx.op('Equal', [sorted as string, onnx.i32(extent)]);
  return [
    onnx.op('GatherElements', [values, order as string], { axis: -1 }),
    onnx.op('Where', [stillUnused, onnx.i32(-1), sorted as string]),
  ];
}

export function takeAlong(graph: Graph, x: OnnxNode, indices: OnnxNode): OnnxNode {
  const { dtype } = x;
  if (sizeOf(x.shape) === 0) return graph.constant(0, indices.shape, dtype);
  return graph.add(
    {
      key: `takeAlong.${dtype}`,
      inputs: [x, indices],
      emit: (onnx, [a, at]) => {
        // The engine would wrap -1 to the last entry.
        const safe = onnx.op('Max', [at as string, onnx.i32(0)]);
        const taken = onnx.op('GatherElements', [a as string, safe], { axis: -1 });
        return [zeroWhere(onnx, onnx.op('Less', [at as string, onnx.i32(0)]), taken, dtype)];
      },
    },
    { shape: indices.shape, dtype },
  );
}

/** By selection, not by a weight of 0: 0 * inf is NaN. */
function zeroWhere(onnx: GraphBuilder, condition: string, value: string, dtype: OnnxNode['dtype']): string {
  if (dtype === 'bool') return onnx.op('And', [onnx.op('Not', [condition]), value]);
  return onnx.op('Where', [condition, zero(onnx, dtype), value]);
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
        // -1 goes to one entry more, which is cut off again.
        const base = onnx.filled(zero(onnx, dtype), [...lead, n + 1]);
        const safe = negativeTo(onnx, at as string, n);
        const filled = onnx.op('ScatterElements', [base, safe, v as string], { axis: -1 });
        return [onnx.op('Slice', [filled, onnx.i64([0]), onnx.i64([n]), onnx.i64([lead.length])])];
      },
    },
    { shape, dtype },
  );
}

function negativeTo(onnx: GraphBuilder, indices: string, spare: number): string {
  return onnx.op('Where', [onnx.op('Less', [indices, onnx.i32(0)]), onnx.i32(spare), indices]);
}

export function gatherRows(graph: Graph, x: OnnxNode, indices: OnnxNode): OnnxNode {
  const [batch, rows, width] = x.shape as readonly [number, number, number];
  const count = indices.shape[1] as number;
  const shape = [batch, count, width];
  if (sizeOf(x.shape) === 0) return graph.constant(0, shape, x.dtype);
  return graph.add(
    {
      key: `gatherRows.${x.dtype}`,
      inputs: [x, indices],
      emit: (onnx, [a, at]) => {
        const safe = onnx.op('Max', [at as string, onnx.i32(0)]);
        const gathered = onnx.op('Gather', [
          onnx.reshape(a as string, [batch * rows, width]),
          flat(onnx, safe, batch, rows),
        ]);
        const isUnused = onnx.op('Less', [onnx.reshape(at as string, [batch, count, 1]), onnx.i32(0)]);
        return [zeroWhere(onnx, isUnused, gathered, x.dtype)];
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
        const column = onnx.reshape(negativeTo(onnx, at as string, n), [batch, count, 1]);
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
