import { TopKError } from '@topk-attention/core';
import type { GraphProto, NodeProto } from '../../onnx/messages.js';
import { operatorOf } from './attributes.js';
import { usedBy } from './graph-index.js';
import { mapGraphs } from './live.js';

/**
 * A graph, and the graphs in it, with every node after those whose values it uses; the graph itself where they stand so.
 * ONNX asks for this order, but ONNX Runtime does without, and its converter to half precision appends its casts.
 *
 * @param source The model's name in error messages.
 * @throws TopKError FILE_CORRUPT for nodes in a circle.
 */
export function inOrder(graph: GraphProto, source: string): GraphProto {
  const inner = graph.node.map((node) => mapGraphs(node, (one) => inOrder(one, source)));
  const node = isInOrder(inner) ? inner : sorted(inner, source);
  const isSame = node.every((one, at) => one === graph.node[at]);
  return isSame ? graph : { ...graph, node };
}

function isInOrder(nodes: readonly NodeProto[]): boolean {
  const unmade = new Set(nodes.flatMap(({ output }) => output));
  return nodes.every((node) => {
    for (const name of usedBy(node)) if (unmade.has(name)) return false;
    for (const name of node.output) unmade.delete(name);
    return true;
  });
}

/** In the order of the file as far as that goes: a node is put off no further than to the first that uses it. */
function sorted(nodes: readonly NodeProto[], source: string): readonly NodeProto[] {
  const makers = new Map(nodes.flatMap((node) => node.output.map((name) => [name, node] as const)));
  const order: NodeProto[] = [];
  const states = new Map<NodeProto, 'begun' | 'done'>();
  for (const first of nodes) {
    // A stack of its own: the way from a node to the first one it needs may be as long as the file.
    const stack = [first];
    for (let node = stack.at(-1); node !== undefined; node = stack.at(-1)) {
      if (states.has(node)) {
        stack.pop();
        if (states.get(node) === 'begun') order.push(node);
        states.set(node, 'done');
        continue;
      }
      states.set(node, 'begun');
      for (const name of usedBy(node)) {
        const maker = makers.get(name);
        if (maker === undefined || states.get(maker) === 'done') continue;
        if (states.get(maker) === 'begun') throw circle(source, node, name);
        stack.push(maker);
      }
    }
  }
  return order;
}

function circle(source: string, node: NodeProto, name: string): TopKError {
  return new TopKError('FILE_CORRUPT', `${source}: the nodes of a graph are in a circle`, {
    expected: 'every value to be made once, before it is used',
    got: `${operatorOf(node)} ${node.name || node.output[0] || ''} with ${name} before it is made`,
    fix: 'Export the model again',
  });
}
