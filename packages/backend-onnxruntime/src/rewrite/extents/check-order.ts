import { TopKError } from '@topk-attention/core';
import { subgraphsOf } from '../../onnx/attributes.js';
import type { GraphProto, NodeProto } from '../../onnx/messages.js';
import { operatorOf } from '../graph/attributes.js';

/** Throws unless every value is made before it is used, which also rules out circles. */
export function checkOrder(
  graph: GraphProto,
  source: string,
  isOuter: (name: string) => boolean = () => false,
): void {
  const made = new Set(graph.initializer.map(({ name = '' }) => name));
  for (const { name = '' } of graph.input) made.add(name);
  for (const { values } of graph.sparseInitializer ?? []) made.add(values?.name ?? '');
  const isMade = (name: string): boolean => made.has(name) || isOuter(name);
  for (const node of graph.node) {
    const missing = node.input.find((name) => name !== '' && !isMade(name));
    if (missing !== undefined) throw disordered(source, node, `${missing} before it is made`);
    for (const inner of subgraphsOf(node)) checkOrder(inner, source, isMade);
    for (const name of node.output) {
      // Inputs, weights and values of outer graphs cannot be made again either: that would be a circle.
      if (name !== '' && isMade(name)) throw disordered(source, node, `${name} made twice`);
      made.add(name);
    }
  }
  for (const { name = '' } of graph.output) {
    if (!isMade(name)) {
      throw new TopKError('FILE_CORRUPT', `${source}: a graph has an output that nothing makes`, {
        got: name,
      });
    }
  }
}

function disordered(source: string, node: NodeProto, got: string): TopKError {
  return new TopKError('FILE_CORRUPT', `${source}: the nodes of a graph are not in order`, {
    expected: 'every value to be made once, before it is used',
    got: `${operatorOf(node)} ${node.name || node.output[0] || ''} with ${got}`,
    fix: 'Export the model again',
  });
}
