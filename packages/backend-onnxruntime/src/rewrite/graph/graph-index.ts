import { subgraphsOf } from '../../onnx/attributes.js';
import type { GraphProto, NodeProto } from '../../onnx/messages.js';

/** Who makes and who uses the values of a graph. Inner graphs see the values of the outer ones. */
export class GraphIndex {
  readonly graph: GraphProto;
  readonly outer: GraphIndex | undefined;
  /** The branch or body that the graph is, in words. */
  readonly place: string | undefined;
  readonly #producers = new Map<string, NodeProto>();
  readonly #users = new Map<string, NodeProto[]>();
  readonly #initializers: ReadonlySet<string>;
  readonly #outputs: ReadonlySet<string>;

  constructor(graph: GraphProto, outer?: GraphIndex, place?: string) {
    this.graph = graph;
    this.outer = outer;
    this.place = place;
    this.#initializers = new Set(graph.initializer.map(({ name = '' }) => name));
    this.#outputs = new Set(graph.output.map(({ name = '' }) => name));
    for (const node of graph.node) {
      for (const name of node.output) this.#producers.set(name, node);
      for (const name of usedBy(node)) {
        const users = this.#users.get(name);
        if (users === undefined) this.#users.set(name, [node]);
        else users.push(node);
      }
    }
  }

  /** The node that makes a value; undefined for inputs and constants of the file. */
  producer(name: string): NodeProto | undefined {
    return this.#producers.get(name) ?? (this.#has(name) ? undefined : this.outer?.producer(name));
  }

  /** The nodes of this graph that use a value, themselves or in their inner graphs. */
  users(name: string): readonly NodeProto[] {
    return this.#users.get(name) ?? [];
  }

  isOutput(name: string): boolean {
    return this.#outputs.has(name);
  }

  /** A weight or another number of the file, also under another name. */
  isConstant(value: string): boolean {
    let name = value;
    let node = this.producer(name);
    for (; node?.opType === 'Identity'; node = this.producer(name)) name = node.input[0] ?? '';
    if (node !== undefined) return node.opType === 'Constant';
    return this.#initializers.has(name) || (!this.#has(name) && (this.outer?.isConstant(name) ?? false));
  }

  /** The same, or a constant in another element type. */
  isWeight(value: string): boolean {
    if (this.isConstant(value)) return true;
    const node = this.producer(value);
    return node?.opType === 'Cast' && this.isConstant(node.input[0] as string);
  }

  #has(name: string): boolean {
    return this.#initializers.has(name) || this.graph.input.some((input) => input.name === name);
  }
}

/** Values of its graph and of outer ones that a node uses, itself or in its inner graphs. */
export function usedBy(node: NodeProto): ReadonlySet<string> {
  const used = new Set(node.input);
  for (const graph of subgraphsOf(node)) {
    const within = new Set(graph.output.map(({ name = '' }) => name));
    for (const inner of graph.node) for (const name of usedBy(inner)) within.add(name);
    for (const { name = '' } of [...graph.input, ...graph.initializer]) within.delete(name);
    for (const inner of graph.node) for (const name of inner.output) within.delete(name);
    for (const name of within) used.add(name);
  }
  used.delete('');
  return used;
}
