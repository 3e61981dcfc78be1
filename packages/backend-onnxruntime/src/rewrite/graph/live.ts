import type { AttributeProto, GraphProto, NodeProto } from '../../onnx/messages.js';
import { usedBy } from './graph-index.js';

/** A graph without the nodes whose outputs nothing uses any more, and without their constants. Inner graphs too. */
export function withoutDead(graph: GraphProto, before: GraphProto = graph): GraphProto {
  const used = new Set(graph.output.map(({ name = '' }) => name));
  const kept: NodeProto[] = [];
  for (const node of [...graph.node].reverse()) {
    if (!node.output.some((name) => used.has(name))) continue;
    const lean = mapGraphs(node, (inner) => withoutDead(inner));
    for (const name of usedBy(lean)) used.add(name);
    kept.push(lean);
  }
  // A constant that nothing used in the file either is the file's own affair.
  const usedBefore = new Set(before.node.flatMap((node) => [...usedBy(node)]));
  const made = new Set(kept.flatMap(({ output }) => output));
  return {
    ...graph,
    node: kept.reverse(),
    initializer: graph.initializer.filter(({ name = '' }) => used.has(name) || !usedBefore.has(name)),
    valueInfo: graph.valueInfo.filter(({ name = '' }) => made.has(name)),
  };
}

/** A node with its inner graphs mapped, given the attributes that hold them; the node itself if none changes. */
export function mapGraphs(
  node: NodeProto,
  map: (graph: GraphProto, attribute: string) => GraphProto,
): NodeProto {
  let hasChanged = false;
  const mapped = (graph: GraphProto, attribute: string): GraphProto => {
    const made = map(graph, attribute);
    if (made !== graph) hasChanged = true;
    return made;
  };
  const attribute = node.attribute.map((one): AttributeProto => {
    const { name = '', g, graphs } = one;
    return {
      ...one,
      ...(g !== undefined && { g: mapped(g, name) }),
      ...(graphs !== undefined && { graphs: graphs.map((inner) => mapped(inner, name)) }),
    };
  });
  return hasChanged ? { ...node, attribute } : node;
}

/** Every name of a value in a graph and the graphs in it. */
export function allNames(graph: GraphProto, names: Set<string> = new Set()): ReadonlySet<string> {
  for (const { name = '' } of [...graph.input, ...graph.initializer, ...graph.output]) names.add(name);
  for (const node of graph.node) {
    for (const name of node.output) names.add(name);
    mapGraphs(node, (inner) => {
      allNames(inner, names);
      return inner;
    });
  }
  return names;
}
