import type { NodeProto } from '../../onnx/messages.js';
import { NodeWriter } from '../build/node-writer.js';
import type { Lengths } from '../extents/lengths.js';
import { operatorOf } from '../graph/attributes.js';
import type { GraphIndex } from '../graph/graph-index.js';
import { expandAttention } from './attention.js';
import { expandGrouped } from './grouped.js';
import { expandMultiHead } from './multi-head.js';
import { expandPacked } from './packed.js';
import type { Expand } from './parts.js';

const operators: ReadonlyMap<string, Expand> = new Map([
  ['Attention', expandAttention],
  ['com.microsoft.Attention', expandPacked],
  ['com.microsoft.GroupQueryAttention', expandGrouped],
  ['com.microsoft.MultiHeadAttention', expandMultiHead],
]);

/** Whether an operator stands for a whole block that can be written as plain nodes. */
export function isExpandable(node: NodeProto): boolean {
  return operators.has(operatorOf(node));
}

/**
 * An operator for a whole block as plain nodes, whose last have the operator's outputs; the block is then found like those of
 * files that have no such operators.
 *
 * @throws Refused for options that exporters of models do not write.
 */
export function expand(
  node: NodeProto,
  index: GraphIndex,
  lengths: Lengths,
  opset: number,
  prefix: string,
): readonly NodeProto[] {
  const writer = new NodeWriter(opset, prefix);
  operators.get(operatorOf(node))?.({ node, index, lengths, writer });
  return writer.nodes;
}
