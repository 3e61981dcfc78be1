import { TopKError } from '@topk-attention/core';
import { subgraphsOf } from '../../onnx/attributes.js';
import type { GraphProto, NodeProto } from '../../onnx/messages.js';
import { operatorOf } from '../graph/attributes.js';

/** Throws unless every value is made before it is used, which also rules out circles. */
export function checkOrder(graph: GraphProto, source: string, outer: ReadonlySet<string> = new Set()): void {
  const made = new Set([...outer, ...graph.initializer.map(({ name = '' }) => name)]);
  for (const { name = '' } of graph.input) made.add(name);
  for (const { values } of graph.sparseInitializer ?? []) made.add(values?.name ?? '');
  const here = new Set<string>();
  for (const node of graph.node) {
    const missing = node.input.find((name) => name !== '' && !made.has(name));
    if (missing !== undefined) throw disordered(source, node, `${missing} before it is made`);
    for (const inner of subgraphsOf(node)) checkOrder(inner, source, made);
    for (const name of node.output) {
      if (name !== '' && here.has(name)) throw disordered(source, node, `${name} made twice`);
      here.add(name);
      made.add(name);
    }
  }
  for (const { name = '' } of graph.output) {
    if (!made.has(name)) {
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
