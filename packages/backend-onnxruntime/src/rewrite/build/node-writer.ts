import { type Attributes, attributeOf } from '../../onnx/attributes.js';
import { dataTypes } from '../../onnx/data-types.js';
import type { GraphProto, NodeProto, TensorProto, ValueInfoProto } from '../../onnx/messages.js';

/**
 * Writes nodes of any operator set from 9 on, and names their outputs. Inner graphs see outer names, so each writer takes
 * a prefix of its own.
 */
export class NodeWriter {
  readonly opset: number;
  readonly nodes: NodeProto[] = [];
  readonly #prefix: string;
  readonly #constants = new Map<string, string>();
  #count = 0;

  constructor(opset: number, prefix: string) {
    this.opset = opset;
    this.#prefix = prefix;
  }

  /** A writer for a graph inside of this one. */
  inner(): NodeWriter {
    return new NodeWriter(this.opset, `${this.name()}/`);
  }

  /** A name for a value of this graph. */
  name(): string {
    return `${this.#prefix}${this.#count++}`;
  }

  op(op: string, inputs: readonly string[], attributes: Attributes = {}): string {
    return this.ops(op, inputs, 1, attributes)[0] as string;
  }

  ops(op: string, inputs: readonly string[], count: number, attributes: Attributes = {}): readonly string[] {
    const output = Array.from({ length: count }, () => this.name());
    this.opInto(output, op, inputs, attributes);
    return output;
  }

  /** A node whose outputs have given names. */
  opInto(
    output: readonly string[],
    op: string,
    input: readonly string[],
    attributes: Attributes = {},
    domain?: string,
  ): void {
    const attribute = Object.entries(attributes).map(([name, value]) => attributeOf(name, value));
    const named = { opType: op, name: `${output[0]}/${op}`, ...(domain !== undefined && { domain }) };
    this.nodes.push({ ...named, input, output, attribute });
  }

  /** The same node on other inputs. Only its first output is made. */
  again(node: NodeProto, input: readonly string[]): string {
    const output = this.name();
    this.nodes.push({ ...node, name: `${output}/${node.opType}`, input, output: [output] });
    return output;
  }

  /** A number, or a list of them. */
  i64(values: number | readonly number[]): string {
    const list = typeof values === 'number' ? [values] : values;
    const raw = new Uint8Array(BigInt64Array.from(list, BigInt).buffer);
    return this.#constant(dataTypes.int64, raw, typeof values === 'number' ? [] : [list.length]);
  }

  f32(value: number): string {
    return this.#constant(dataTypes.float, new Uint8Array(Float32Array.of(value).buffer), []);
  }

  bool(value: boolean): string {
    return this.#constant(dataTypes.bool, Uint8Array.of(value ? 1 : 0), []);
  }

  #constant(dataType: number, rawData: Uint8Array, dims: readonly number[]): string {
    const key = `${dataType}:${dims}:${rawData}`;
    const known = this.#constants.get(key);
    if (known !== undefined) return known;
    const tensor: TensorProto = { dataType, dims, rawData };
    const made = this.op('Constant', [], { value: { tensor } });
    this.#constants.set(key, made);
    return made;
  }

  unsqueeze(value: string, axis: number): string {
    return this.opset < 13
      ? this.op('Unsqueeze', [value], { axes: [axis] })
      : this.op('Unsqueeze', [value, this.i64([axis])]);
  }

  squeeze(value: string, axis: number): string {
    return this.opset < 13
      ? this.op('Squeeze', [value], { axes: [axis] })
      : this.op('Squeeze', [value, this.i64([axis])]);
  }

  /** ReduceMax or ReduceMin over one axis. */
  reduce(op: string, value: string, axis: number, keepsAxis = false): string {
    const keepdims = keepsAxis ? 1 : 0;
    return this.opset < 18
      ? this.op(op, [value], { axes: [axis], keepdims })
      : this.op(op, [value, this.i64([axis])], { keepdims });
  }

  /** The first entries along an axis, up to an end, which is a list of one. */
  slice(value: string, axis: number, end: string): string {
    if (this.opset >= 10) return this.op('Slice', [value, this.i64([0]), end, this.i64([axis])]);
    // Until operator set 10 Slice has fixed ends.
    return this.op('Gather', [value, this.range(this.squeeze(end, 0))], { axis });
  }

  /** Entries along an axis between two fixed places. */
  part(value: string, axis: number, start: number, end: number): string {
    if (this.opset < 10) return this.op('Slice', [value], { starts: [start], ends: [end], axes: [axis] });
    return this.op('Slice', [value, this.i64([start]), this.i64([end]), this.i64([axis])]);
  }

  /** Some entries of a list, as a list. */
  pick(list: string, places: readonly number[]): string {
    return this.op('Gather', [list, this.i64(places)], { axis: 0 });
  }

  /** One entry of a list, as a number. */
  at(list: string, place: number): string {
    return this.op('Gather', [list, this.i64(place)], { axis: 0 });
  }

  /** An extent of a value, as a number. */
  extent(value: string, axis: number): string {
    return this.at(this.op('Shape', [value]), axis);
  }

  concat(lists: readonly string[]): string {
    return lists.length === 1 ? (lists[0] as string) : this.op('Concat', lists, { axis: 0 });
  }

  /** A number as a list of one. */
  list(number: string): string {
    return this.unsqueeze(number, 0);
  }

  /** The smaller of two numbers. `Min` takes whole numbers from operator set 12 on only. */
  smaller(a: string, b: string): string {
    return this.op('Where', [this.op('Less', [a, b]), a, b]);
  }

  larger(a: string, b: string): string {
    return this.op('Where', [this.op('Less', [a, b]), b, a]);
  }

  /** 0 to a length, which is a number. `Range` is of operator set 11. */
  range(length: string): string {
    if (this.opset >= 11) return this.op('Range', [this.i64(0), length, this.i64(1)]);
    const tensor: TensorProto = {
      dataType: dataTypes.int64,
      dims: [1],
      rawData: new Uint8Array(BigInt64Array.of(1n).buffer),
    };
    const ones = this.op('ConstantOfShape', [this.list(length)], { value: { tensor } });
    return this.squeeze(this.op('NonZero', [ones]), 0);
  }
}

/** A graph of written nodes, for bodies and branches. Types are needed, extents are left open. */
export function innerGraph(
  name: string,
  { nodes }: NodeWriter,
  inputs: readonly ValueInfoProto[],
  outputs: readonly ValueInfoProto[],
): GraphProto {
  return { name, node: nodes, initializer: [], input: inputs, output: outputs, valueInfo: [] };
}

export function typed(name: string, elemType: number): ValueInfoProto {
  return { name, type: { tensorType: { elemType } } };
}

export function scalar(name: string, elemType: number): ValueInfoProto {
  return { name, type: { tensorType: { elemType, shape: { dim: [] } } } };
}
