import { sizeOf } from '@topk-attention/core';
import type { NodeProto } from '../../onnx/messages.js';
import type { Lengths } from '../extents/lengths.js';
import type { GraphIndex } from '../graph/graph-index.js';

/** The node that makes a value of another by multiplying or dividing it by one number of the file, in the same graph. */
export function scaleOf(index: GraphIndex, lengths: Lengths, name: string): NodeProto | undefined {
  const node = index.producer(name);
  if (node === undefined || !index.graph.node.includes(node)) return undefined;
  if (node.opType !== 'Mul' && node.opType !== 'Div') return undefined;
  const [number, ...others] = node.input.filter((input) => index.isConstant(input));
  if (number === undefined || others.length > 0) return undefined;
  const dims = lengths.axes(index.graph, number)?.dims;
  return dims !== undefined && dims.length < 2 && sizeOf(dims) === 1 ? node : undefined;
}
