import type { DType, Shape } from '@topk-attention/core';
import {
  type Attribute,
  elementTypes,
  type GraphProto,
  type InitializerProto,
  type NodeProto,
  type ValueProto,
} from './proto.js';

export type ElementType = DType | 'i64';
type Attributes = { readonly [name: string]: Attribute };

/** Collects nodes and constants of one ONNX graph. Values are named by strings, as in ONNX. */
export class GraphBuilder {
  readonly #nodes: NodeProto[] = [];
  readonly #initializers = new Map<string, InitializerProto>();
  readonly #inputs: ValueProto[] = [];
  readonly #outputs: ValueProto[] = [];
  readonly #values: ValueProto[] = [];
  readonly #prefix: string;
  #count = 0;

  /** Subgraphs see the outer names, so each graph takes its own prefix. */
  constructor(prefix = 'v') {
    this.#prefix = prefix;
  }

  input(name: string, type: ElementType, shape: Shape): string {
    this.#inputs.push({ name, type: elementTypes[type], shape });
    return name;
  }

  /** Makes a value an output and returns the output's name; inputs and repeated values need a node of their own. */
  output(value: string, type: ElementType, shape: Shape): string {
    const isTaken = [...this.#inputs, ...this.#outputs].some((one) => one.name === value);
    const name = isTaken ? this.op('Identity', [value]) : value;
    this.#outputs.push({ name, type: elementTypes[type], shape });
    return name;
  }

  /** One node with one output. */
  op(op: string, inputs: readonly string[], attributes: Attributes = {}, domain = ''): string {
    return this.ops(op, inputs, 1, attributes, domain)[0] as string;
  }

  ops(
    op: string,
    inputs: readonly string[],
    outputCount: number,
    attributes: Attributes = {},
    domain = '',
  ): readonly string[] {
    const outputs = Array.from({ length: outputCount }, () => `${this.#prefix}${this.#count++}`);
    this.#nodes.push({ op, domain, inputs, outputs, attributes });
    return outputs;
  }

  /** One of two subgraphs, decided when the graph runs. Both may use every value made before. */
  branch(
    condition: string,
    outputs: readonly { readonly type: ElementType; readonly shape: Shape }[],
    whenTrue: (inner: GraphBuilder) => readonly string[],
    whenFalse: (inner: GraphBuilder) => readonly string[],
  ): readonly string[] {
    const subgraph = (name: string, body: (inner: GraphBuilder) => readonly string[]): Attribute => {
      const inner = new GraphBuilder(`${this.#prefix}${this.#count}${name}`);
      for (const [index, value] of body(inner).entries()) {
        const { type, shape } = outputs[index] as (typeof outputs)[number];
        inner.output(value, type, shape);
      }
      return { graph: inner.finish() };
    };
    const branches = { then_branch: subgraph('t', whenTrue), else_branch: subgraph('f', whenFalse) };
    return this.ops('If', [condition], outputs.length, branches);
  }

  /**
   * `turns` runs of a subgraph, which may use every value made before. The body returns the carried values of the next run
   * and then what is collected; out come the last carried values and, with a leading axis of turns, the collected ones.
   */
  loop(
    turns: number,
    carried: readonly { readonly value: string; readonly type: ElementType; readonly shape: Shape }[],
    collected: readonly { readonly type: ElementType; readonly shape: Shape }[],
    body: (inner: GraphBuilder, turn: string, carried: readonly string[]) => readonly string[],
  ): readonly string[] {
    const prefix = `${this.#prefix}${this.#count}l`;
    const inner = new GraphBuilder(prefix);
    const turn = inner.input(`${prefix}turn`, 'i64', []);
    const goesOn = inner.input(`${prefix}on`, 'bool', []);
    const names = carried.map(({ type, shape }, at) => inner.input(`${prefix}x${at}`, type, shape));
    const made = body(inner, turn, names);
    inner.output(goesOn, 'bool', []);
    for (const [at, { type, shape }] of [...carried, ...collected].entries()) {
      inner.output(made[at] as string, type, shape);
    }
    const inputs = [this.i64(turns), this.bool(true), ...carried.map(({ value }) => value)];
    return this.ops('Loop', inputs, made.length, { body: { graph: inner.finish() } });
  }

  /** States the shape of an inner value that shape inference cannot know. */
  declare(name: string, type: ElementType, shape: Shape): string {
    this.#values.push({ name, type: elementTypes[type], shape });
    return name;
  }

  i64(values: number | readonly number[]): string {
    const list = typeof values === 'number' ? [values] : values;
    return this.#constant(
      'i64',
      BigInt64Array.from(list, BigInt),
      typeof values === 'number' ? [] : [list.length],
    );
  }

  i32(values: number | readonly number[]): string {
    const list = typeof values === 'number' ? [values] : values;
    return this.#constant('i32', Int32Array.from(list), typeof values === 'number' ? [] : [list.length]);
  }

  f32(values: number | readonly number[]): string {
    const list = typeof values === 'number' ? [values] : values;
    return this.#constant('f32', Float32Array.from(list), typeof values === 'number' ? [] : [list.length]);
  }

  bool(value: boolean): string {
    return this.#constant('bool', Uint8Array.of(value ? 1 : 0), []);
  }

  cast(value: string, type: ElementType): string {
    return this.op('Cast', [value], { to: elementTypes[type] });
  }

  reshape(value: string, shape: Shape): string {
    return this.op('Reshape', [value, this.i64(shape)]);
  }

  /** Zeros (or another value) of a fixed shape. */
  filled(value: string, shape: Shape): string {
    return this.op('Expand', [value, this.i64(shape)]);
  }

  #constant(type: ElementType, data: ArrayBufferView, dims: readonly number[]): string {
    const raw = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    const key = `${type}:${dims.join('x')}:${raw.join(',')}`;
    const known = this.#initializers.get(key);
    if (known !== undefined) return known.name;
    const name = `${this.#prefix}c${this.#initializers.size}`;
    this.#initializers.set(key, { name, type: elementTypes[type], dims, raw });
    return name;
  }

  finish(): GraphProto {
    return {
      nodes: this.#nodes,
      initializers: [...this.#initializers.values()],
      inputs: this.#inputs,
      outputs: this.#outputs,
      values: this.#values,
    };
  }
}
