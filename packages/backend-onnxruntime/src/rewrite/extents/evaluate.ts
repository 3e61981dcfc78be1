import { sizeOf } from '@topk-attention/core';
import { dataTypes } from '../../onnx/data-types.js';
import { dimsOf } from '../../onnx/dims.js';
import type { GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto } from '../../onnx/messages.js';
import { externalValuesOf, valuesOf } from '../../onnx/tensor-values.js';
import { floatOf, graphOf, intOf, intsOf, operatorOf, tensorOf } from '../graph/attributes.js';
import { attentionRules } from './attention.js';
import { elementwiseRules } from './elementwise.js';
import { Facts, type Rules } from './facts.js';
import { Conflict, type Known, MOST_AXES, MOST_VALUES, Unknown } from './known.js';
import { layoutRules } from './layout.js';
import { productRules } from './products.js';
import { type Extents, extentOf, symbolOf } from './symbols.js';

const rules: Rules = { ...elementwiseRules, ...layoutRules, ...productRules, ...attentionRules };

/** Two extents that do not go together. */
export interface Meeting {
  readonly graph: GraphProto;
  readonly extents: readonly [number, number];
}

/** Extents, types and short values of everything in a model, for inputs of given extents. */
export class Evaluation {
  readonly #graphs = new Map<GraphProto, Scope>();
  readonly #extents: Extents;
  readonly #conflicts = new Map<NodeProto, Meeting>();
  readonly #outermost = new Scope(undefined);
  readonly #observed: ReadonlyMap<string, Known>;

  /**
   * Computes them from the inputs on, as a run would, without the values of long tensors. What cannot be known is left out,
   * with the reason.
   *
   * @param observed What a run with these extents showed of values of the outermost graph, for those that cannot be computed.
   */
  constructor(model: ModelProto, extents: Extents, observed: ReadonlyMap<string, Known> = new Map()) {
    this.#extents = extents;
    this.#observed = observed;
    this.#graph(model.graph as GraphProto, this.#outermost);
  }

  /** Nodes whose operands have extents that do not go together. */
  get conflicts(): ReadonlyMap<NodeProto, Meeting> {
    return this.#conflicts;
  }

  /** Undefined for what is not known, and for graphs that no run with these extents reaches. */
  known(graph: GraphProto, name: string): Known | undefined {
    return this.#graphs.get(graph)?.find(name);
  }

  /** Why a value is not known: the first operator on the way to it that could not be followed. */
  reason(graph: GraphProto, name: string): string {
    return this.#graphs.get(graph)?.reason(name) ?? 'its extents are not known';
  }

  /** Every known value of all graphs: inputs and outputs of nodes, not constants of the file. */
  *values(): Iterable<{
    readonly graph: GraphProto;
    readonly node: NodeProto;
    readonly name: string;
    readonly known: Known;
  }> {
    for (const [graph, scope] of this.#graphs) {
      for (const node of graph.node) {
        for (const name of node.output) {
          const known = name === '' ? undefined : scope.find(name);
          if (known !== undefined) yield { graph, node, name, known };
        }
      }
    }
  }

  #graph(graph: GraphProto, scope: Scope): void {
    this.#graphs.set(graph, scope);
    for (const tensor of graph.initializer) scope.set(tensor.name ?? '', constant(tensor));
    for (const input of graph.input) {
      const name = input.name ?? '';
      if (!scope.has(name)) scope.set(name, this.#input(input));
    }
    for (const node of graph.node) this.#node(node, scope, graph);
  }

  #input(input: ValueInfoProto): Known | undefined {
    const dims = dimsOf(input);
    if (dims === undefined) return undefined;
    const extents = dims.map((dim, axis) => extentOf(symbolOf(input.name ?? '', axis, dim), this.#extents));
    if (extents.includes(undefined)) return undefined;
    return { type: input.type?.tensorType?.elemType ?? 0, dims: extents as number[] };
  }

  #node(node: NodeProto, scope: Scope, graph: GraphProto): void {
    try {
      const outputs = this.#outputs(node, scope);
      const many = outputs.find((known) => known !== undefined && known.dims.length > MOST_AXES);
      if (many !== undefined) throw new Unknown(`${many.dims.length} axes`);
      for (const [at, name] of node.output.entries()) scope.set(name, outputs[at]);
    } catch (error) {
      if (!(error instanceof Unknown)) throw error;
      if (error instanceof Conflict) this.#conflicts.set(node, { graph, extents: error.extents });
      const unknown = node.input.find((name) => name !== '' && scope.find(name) === undefined);
      const because = unknown === undefined ? undefined : scope.reason(unknown);
      const here = `${operatorOf(node)} ${node.name || node.output[0]}: ${error.message}`;
      for (const name of node.output) {
        const observed = scope === this.#outermost ? this.#observed.get(name) : undefined;
        if (observed === undefined) scope.fail(name, because ?? here);
        else scope.set(name, observed);
      }
    }
  }

  #outputs(node: NodeProto, scope: Scope): readonly (Known | undefined)[] {
    const operator = operatorOf(node);
    const facts = new Facts(
      node,
      node.input.map((name) => scope.find(name)),
    );
    if (operator === 'Constant') return [constantNode(node)];
    if (operator === 'ConstantOfShape') return [constantOfShape(node, facts)];
    if (operator === 'If') return this.#branches(node, facts, scope);
    if (operator === 'Loop') return this.#loop(node, facts, scope);
    const rule = rules[operator];
    if (rule === undefined) throw new Unknown('this operator is not understood');
    return rule(facts);
  }

  #branches(node: NodeProto, facts: Facts, scope: Scope): readonly (Known | undefined)[] {
    const condition = facts.has(0) ? scope.find(node.input[0] as string)?.values?.[0] : undefined;
    const wanted =
      condition === undefined
        ? ['then_branch', 'else_branch']
        : [condition === 0 ? 'else_branch' : 'then_branch'];
    const results = wanted.map((name) => {
      const graph = graphOf(node, name);
      if (graph === undefined) throw new Unknown(`it has no ${name}`);
      const inner = new Scope(scope);
      this.#graph(graph, inner);
      return graph.output.map((output) => inner.find(output.name ?? ''));
    });
    return node.output.map((_, at) => {
      const [first, ...others] = results.map((outputs) => outputs[at]);
      const isSame = others.every((other) => other !== undefined && `${other.dims}` === `${first?.dims}`);
      return first !== undefined && isSame ? first : undefined;
    });
  }

  /** The body is followed once: carried values keep their extents or are not known. */
  #loop(node: NodeProto, facts: Facts, scope: Scope): readonly (Known | undefined)[] {
    const body = graphOf(node, 'body');
    if (body === undefined) throw new Unknown('it has no body');
    const inner = new Scope(scope);
    const [turn, goesOn, ...carried] = body.input.map(({ name = '' }) => name);
    inner.set(turn ?? '', { type: dataTypes.int64, dims: [] });
    inner.set(goesOn ?? '', { type: dataTypes.bool, dims: [] });
    for (const [at, name] of carried.entries()) {
      const start = scope.find(node.input[at + 2] ?? '');
      inner.set(name, start && { type: start.type, dims: start.dims });
    }
    this.#graph(body, inner);
    const turns = facts.has(0) ? scope.find(node.input[0] as string)?.values?.[0] : undefined;
    return body.output.slice(1).map(({ name = '' }, at) => {
      const known = inner.find(name);
      if (known === undefined) return undefined;
      const { type, dims } = known;
      if (at >= carried.length) return turns === undefined ? undefined : { type, dims: [turns, ...dims] };
      const before = inner.find(carried[at] as string);
      return `${before?.dims}` === `${dims}` ? { type, dims } : undefined;
    });
  }
}

/** Values of one graph; inner graphs see those of the outer ones. */
class Scope {
  readonly #outer: Scope | undefined;
  readonly #values = new Map<string, Known | undefined>();
  readonly #reasons = new Map<string, string>();

  constructor(outer: Scope | undefined) {
    this.#outer = outer;
  }

  has(name: string): boolean {
    return this.#values.has(name);
  }

  find(name: string): Known | undefined {
    return this.#values.has(name) ? this.#values.get(name) : this.#outer?.find(name);
  }

  set(name: string, known: Known | undefined): void {
    this.#values.set(name, known);
  }

  fail(name: string, reason: string): void {
    this.#values.set(name, undefined);
    this.#reasons.set(name, reason);
  }

  reason(name: string): string | undefined {
    return this.#reasons.get(name) ?? this.#outer?.reason(name);
  }
}

/** Version of the standard operators. */
export function opsetOf(model: ModelProto): number {
  const found = model.opsetImport.find(({ domain = '' }) => domain === '' || domain === 'ai.onnx');
  return found?.version ?? 1;
}

/** Element types whose values are numbers as they stand in the file. */
const readable: ReadonlySet<number> = new Set([
  dataTypes.float,
  dataTypes.double,
  dataTypes.int64,
  dataTypes.int32,
  dataTypes.int16,
  dataTypes.int8,
  dataTypes.uint8,
  dataTypes.bool,
]);

/** A model is evaluated several times, for each choice of its extents, and a rewritten one shares its constants. */
const constants = new WeakMap<TensorProto, Known>();

function constant(tensor: TensorProto): Known {
  const known = constants.get(tensor) ?? readConstant(tensor);
  constants.set(tensor, known);
  return known;
}

function readConstant(tensor: TensorProto): Known {
  const { dims, dataType: type = 0 } = tensor;
  const size = sizeOf(dims);
  if (!readable.has(type) || size > MOST_VALUES || externalValuesOf(tensor) !== undefined)
    return { type, dims };
  const values = Array.from(valuesOf(tensor) as Iterable<number | bigint>, Number);
  return { type, dims, values };
}

function constantNode(node: NodeProto): Known {
  const tensor = tensorOf(node, 'value');
  if (tensor !== undefined) return constant(tensor);
  const int = intOf(node, 'value_int');
  if (int !== undefined) return { type: dataTypes.int64, dims: [], values: [int] };
  const ints = intsOf(node, 'value_ints');
  if (ints !== undefined) return { type: dataTypes.int64, dims: [ints.length], values: ints };
  const float = floatOf(node, 'value_float');
  if (float !== undefined) return { type: dataTypes.float, dims: [], values: [float] };
  const floats = node.attribute.find(({ name }) => name === 'value_floats')?.floats;
  if (floats !== undefined) return { type: dataTypes.float, dims: [floats.length], values: [...floats] };
  throw new Unknown('a constant of another kind');
}

function constantOfShape(node: NodeProto, facts: Facts): Known {
  const dims = facts.values(0);
  const value = tensorOf(node, 'value');
  const { type, values = [] } =
    value === undefined ? { type: dataTypes.float, values: [0] } : constant(value);
  const size = sizeOf(dims);
  if (!Number.isSafeInteger(size) || dims.some((extent) => extent < 0))
    throw new Unknown(`extents [${dims}]`);
  if (size > MOST_VALUES || values.length !== 1) return { type, dims };
  return { type, dims, values: new Array<number>(size).fill(values[0] as number) };
}
