import { TopKError } from '@topk-attention/core';
import { type Attribute, type Attributes, attributeOf } from './attributes.js';
import { CONTRIB } from './contrib.js';
import { type ElementType, elementTypes } from './data-types.js';
import { type Dim, type Dims, shapeOf } from './dims.js';
import type { GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto } from './messages.js';

/** A value with its type, as for inputs and outputs of graphs. */
export interface TypedValue {
  readonly type: ElementType;
  readonly shape: Dims;
}

/** A value with a name of its own, if it has one. */
export interface NamedValue extends TypedValue {
  readonly name?: string;
}

/** An input of a graph. */
export interface GraphInput extends TypedValue {
  readonly name: string;
}

/** Operator set 21 and IR 10: the oldest pair with every operator used here, read by ONNX Runtime 1.20 and later. */
const OPSET = 21;
const IR_VERSION = 10;

/**
 * Collects nodes and constants of one ONNX graph. Values are named by strings, as in ONNX. Extents may be names: those of
 * inputs can then be used in shapes further on.
 */
export class GraphBuilder {
  readonly #nodes: NodeProto[] = [];
  readonly #initializers = new Map<string, TensorProto>();
  readonly #inputs: ValueInfoProto[] = [];
  readonly #outputs: ValueInfoProto[] = [];
  readonly #values: ValueInfoProto[] = [];
  readonly #prefix: string;
  /** Values i64 [1] that hold the named extents. */
  readonly #extents: Map<string, string>;
  #part = '';
  #count = 0;

  /**
   * Subgraphs see the outer names, so each graph takes its own prefix.
   *
   * @param extents Named extents of an outer graph: values i64 [1] by name.
   */
  constructor(prefix = 'v', extents: ReadonlyMap<string, string> = new Map()) {
    this.#prefix = prefix;
    this.#extents = new Map(extents);
  }

  input(name: string, type: ElementType, shape: Dims): string {
    this.#inputs.push(valueInfo(name, type, shape));
    for (const [axis, dim] of shape.entries()) {
      if (typeof dim === 'number' || dim === '' || this.#extents.has(dim)) continue;
      this.#extents.set(dim, this.op('Shape', [name], { start: axis, end: axis + 1 }));
    }
    return name;
  }

  /** Makes a value an output and returns the output's name; inputs and repeated values need a node of their own. */
  output(value: string, type: ElementType, shape: Dims): string {
    const isTaken = [...this.#inputs, ...this.#outputs].some((one) => one.name === value);
    const name = isTaken ? this.op('Identity', [value]) : value;
    this.#outputs.push(valueInfo(name, type, shape));
    return name;
  }

  /** Values made by `make` are named after a part of the model, which tools show. */
  within<T>(part: string, make: () => T): T {
    const before = this.#part;
    this.#part = `${part}/`;
    try {
      return make();
    } finally {
      this.#part = before;
    }
  }

  /** A constant under a name of its own, such as a weight. Without values, whoever writes the file has them. */
  weight(name: string, type: ElementType, dims: readonly number[], values?: ArrayBufferView): string {
    const rawData = values && new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    const dataType = elementTypes[type];
    this.#initializers.set(name, { name, dataType, dims, ...(rawData !== undefined && { rawData }) });
    return name;
  }

  /** One node with one output. */
  op(op: string, inputs: readonly string[], attributes: Attributes = {}, domain = ''): string {
    return this.ops(op, inputs, 1, attributes, domain)[0] as string;
  }

  /** @param wanted The number of outputs, or a name for each, where undefined is any name. */
  ops(
    op: string,
    inputs: readonly string[],
    wanted: number | readonly (string | undefined)[],
    attributes: Attributes = {},
    domain = '',
  ): readonly string[] {
    const names = typeof wanted === 'number' ? Array.from({ length: wanted }, () => undefined) : wanted;
    const outputs = names.map((name) => name ?? `${this.#prefix}${this.#part}${this.#count++}`);
    this.#nodes.push({
      opType: op,
      ...(domain !== '' && { domain }),
      input: inputs,
      output: outputs,
      attribute: Object.entries(attributes).map(([name, value]) => attributeOf(name, value)),
    });
    return outputs;
  }

  /** One of two subgraphs, chosen when the graph runs. Both may use every value made before. */
  branch(
    condition: string,
    outputs: readonly NamedValue[],
    whenTrue: (inner: GraphBuilder) => readonly string[],
    whenFalse: (inner: GraphBuilder) => readonly string[],
  ): readonly string[] {
    const subgraph = (name: string, body: (inner: GraphBuilder) => readonly string[]): Attribute => {
      const inner = new GraphBuilder(`${this.#prefix}${this.#part}${this.#count}${name}`, this.#extents);
      for (const [index, value] of body(inner).entries()) {
        const { type, shape } = outputs[index] as (typeof outputs)[number];
        inner.output(value, type, shape);
      }
      return { graph: inner.finish() };
    };
    const branches = { then_branch: subgraph('t', whenTrue), else_branch: subgraph('f', whenFalse) };
    const names = outputs.map(({ name }) => name);
    return this.ops('If', [condition], names, branches);
  }

  /**
   * Runs a subgraph `turns` times; it may use every value made before. The body returns the carried values of the next turn,
   * then the collected values. The loop returns the last carried values, then the collected ones with a leading axis of turns.
   *
   * @param turns A number, or a value i64 [].
   */
  loop(
    turns: number | string,
    carried: readonly (TypedValue & { readonly value: string })[],
    collected: readonly TypedValue[],
    body: (inner: GraphBuilder, turn: string, carried: readonly string[]) => readonly string[],
  ): readonly string[] {
    const prefix = `${this.#prefix}${this.#part}${this.#count}l`;
    const inner = new GraphBuilder(prefix, this.#extents);
    const turn = inner.input(`${prefix}turn`, 'i64', []);
    const goesOn = inner.input(`${prefix}on`, 'bool', []);
    const names = carried.map(({ type, shape }, at) => inner.input(`${prefix}x${at}`, type, shape));
    const made = body(inner, turn, names);
    inner.output(goesOn, 'bool', []);
    for (const [at, { type, shape }] of [...carried, ...collected].entries()) {
      inner.output(made[at] as string, type, shape);
    }
    const count = typeof turns === 'number' ? this.i64(turns) : turns;
    const inputs = [count, this.bool(true), ...carried.map(({ value }) => value)];
    return this.ops('Loop', inputs, made.length, { body: { graph: inner.finish() } });
  }

  /** Declares the shape of an inner value that shape inference cannot find. */
  declare(name: string, type: ElementType, shape: Dims): string {
    this.#values.push(valueInfo(name, type, shape));
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

  reshape(value: string, shape: Dims): string {
    return this.op('Reshape', [value, this.shape(shape)]);
  }

  /** Zeros (or another value) of a shape. */
  filled(value: string, shape: Dims): string {
    return this.op('Expand', [value, this.shape(shape)]);
  }

  /** A shape as a value i64 [rank]: a constant, or assembled where extents are names. */
  shape(dims: Dims): string {
    const numbers = dims.filter((dim) => typeof dim === 'number');
    if (numbers.length === dims.length) return this.i64(numbers);
    return this.op(
      'Concat',
      dims.map((dim) => this.#extent(dim)),
      { axis: 0 },
    );
  }

  #extent(dim: Dim): string {
    if (typeof dim === 'number') return this.i64([dim]);
    const value = this.#extents.get(dim);
    if (value !== undefined) return value;
    throw new TopKError('SHAPE_MISMATCH', 'graph: no input has this extent', {
      expected: [...this.#extents.keys()].join(', ') || 'no named extent',
      got: dim,
    });
  }

  #constant(type: ElementType, data: ArrayBufferView, dims: readonly number[]): string {
    const raw = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    const key = `${type}:${dims.join('x')}:${raw.join(',')}`;
    const known = this.#initializers.get(key);
    if (known?.name !== undefined) return known.name;
    const name = `${this.#prefix}c${this.#initializers.size}`;
    this.#initializers.set(key, { name, dataType: elementTypes[type], dims, rawData: raw });
    return name;
  }

  finish(): GraphProto {
    return {
      node: this.#nodes,
      name: 'graph',
      initializer: [...this.#initializers.values()],
      input: this.#inputs,
      output: this.#outputs,
      valueInfo: this.#values,
    };
  }

  /** The graph as a model that ONNX Runtime can load. */
  model(): ModelProto {
    return {
      irVersion: IR_VERSION,
      producerName: 'topk-attention',
      graph: this.finish(),
      opsetImport: [{ domain: '', version: OPSET }, CONTRIB],
    };
  }
}

function valueInfo(name: string, type: ElementType, shape: Dims): ValueInfoProto {
  return { name, type: { tensorType: { elemType: elementTypes[type], shape: shapeOf(shape) } } };
}
