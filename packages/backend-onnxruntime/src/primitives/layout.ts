import { type Shape, sizeOf } from '@topk-attention/core';
import { sameShape } from '@topk-attention/core/backend';
import type { Graph } from '../graph/graph.js';
import type { OnnxNode } from '../graph/node.js';

/** End of a slice that reaches to the end of its axis. */
const TO_THE_END = 2 ** 31 - 1;

export function transpose(graph: Graph, x: OnnxNode, permutation: readonly number[]): OnnxNode {
  const shape = permutation.map((axis) => x.shape[axis] as number);
  // Axes of extent 1 may go anywhere without moving a value.
  const moving = permutation.filter((axis) => x.shape[axis] !== 1);
  if (moving.every((axis, index) => index === 0 || axis > (moving[index - 1] as number))) {
    return graph.view(x, shape);
  }
  return graph.add(
    {
      key: `transpose[${permutation}]`,
      inputs: [x],
      emit: (onnx, [a]) => [onnx.op('Transpose', [a as string], { perm: [...permutation] })],
    },
    { shape, dtype: x.dtype },
  );
}

export function slice(graph: Graph, x: OnnxNode, starts: readonly number[], sizes: Shape): OnnxNode {
  if (sameShape(x.shape, sizes)) return graph.view(x, sizes);
  const axes = sizes.flatMap((size, axis) => (size === x.shape[axis] ? [] : [axis]));
  const from = axes.map((axis) => starts[axis] as number);
  const to = axes.map((axis) => (starts[axis] as number) + (sizes[axis] as number));
  return graph.add(
    {
      key: `slice[${axes}][${sizes}]`,
      inputs: [x],
      // Starts are not part of the structure: the next chunk or token finds the same session.
      parameters: [graph.parameter(from), graph.parameter(to)],
      emit: (onnx, [a], [start, end]) => [
        onnx.declare(
          onnx.op('Slice', [a as string, start as string, end as string, onnx.i64(axes)]),
          x.dtype,
          sizes,
        ),
      ],
    },
    { shape: sizes, dtype: x.dtype },
  );
}

export function concat(graph: Graph, xs: readonly OnnxNode[], axis: number): OnnxNode {
  const first = xs[0] as OnnxNode;
  const extent = xs.reduce((sum, x) => sum + (x.shape[axis] as number), 0);
  const shape = first.shape.map((own, index) => (index === axis ? extent : own));
  const parts = xs.filter((x) => sizeOf(x.shape) > 0);
  if (parts.length === 1) return graph.view(parts[0] as OnnxNode, shape);
  return graph.add(
    { key: `concat[${axis}]`, inputs: parts, emit: (onnx, names) => [onnx.op('Concat', names, { axis })] },
    { shape, dtype: first.dtype },
  );
}

/** dst with x written at `starts`: what lies before, x, and what lies after, axis by axis. A copy: sessions own their outputs. */
export function writeInto(graph: Graph, dst: OnnxNode, x: OnnxNode, starts: readonly number[]): OnnxNode {
  if (sizeOf(x.shape) === 0) return graph.view(dst, dst.shape);
  const axes = x.shape.flatMap((size, axis) => (size === dst.shape[axis] ? [] : [axis]));
  if (axes.length === 0) return graph.view(x, dst.shape);
  const parameters = axes.flatMap((axis) => {
    const start = starts[axis] as number;
    return [graph.parameter([start]), graph.parameter([start + (x.shape[axis] as number)])];
  });
  return graph.add(
    {
      key: `writeInto[${axes}]`,
      inputs: [dst, x],
      parameters,
      emit: (onnx, [target, part], bounds) => {
        const write = (into: string, depth: number): string => {
          const axis = axes[depth];
          if (axis === undefined) return part as string;
          const [start, end] = [bounds[2 * depth] as string, bounds[2 * depth + 1] as string];
          const cut = (from: string, to: string) => onnx.op('Slice', [into, from, to, onnx.i64([axis])]);
          const middle = depth + 1 === axes.length ? (part as string) : write(cut(start, end), depth + 1);
          return onnx.op('Concat', [cut(onnx.i64([0]), start), middle, cut(end, onnx.i64([TO_THE_END]))], {
            axis,
          });
        };
        return [onnx.declare(write(target as string, 0), dst.dtype, dst.shape)];
      },
    },
    dst,
  );
}
