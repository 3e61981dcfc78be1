import { sizeOf, TopKError } from '@topk-attention/core';
import { numberToHalf } from '@topk-attention/core/reference';
import { dataTypes } from '../onnx/data-types.js';
import { dimsOf } from '../onnx/dims.js';
import type { GraphProto, ModelProto, ValueInfoProto } from '../onnx/messages.js';
import type { OrtArray } from '../runtime/ort.js';
import { type Extents, extentOf, symbolOf } from './extents/symbols.js';

/** Values of an input of a model: as JSON holds them, or as they were made up. */
export interface InputValues {
  readonly name: string;
  /** The element type as ONNX Runtime calls it. */
  readonly type: 'float32' | 'float16' | 'int64' | 'int32' | 'bool';
  readonly dims: readonly number[];
  readonly values: readonly number[];
}

const types = new Map<number, InputValues['type']>([
  [dataTypes.float, 'float32'],
  [dataTypes.float16, 'float16'],
  [dataTypes.int64, 'int64'],
  [dataTypes.int32, 'int32'],
  [dataTypes.bool, 'bool'],
]);

/** An input as a tensor of ONNX Runtime. */
export function tensorOf<Tensor>(
  Tensor: new (type: string, data: OrtArray, dims: readonly number[]) => Tensor,
  input: InputValues,
): Tensor {
  return new Tensor(input.type, elementsOf(input), input.dims);
}

const arrays = {
  float32: Float32Array,
  float16: Uint16Array,
  int64: BigInt64Array,
  int32: Int32Array,
  bool: Uint8Array,
} as const;

/** Room for the values of an input. */
export function emptyElements(type: InputValues['type'], size: number): OrtArray {
  return new arrays[type](size);
}

/** The values of an input as a tensor holds them. */
export function elementsOf({ type, values }: InputValues): OrtArray {
  if (type === 'float16') return arrays[type].from(values, numberToHalf);
  return type === 'int64' ? arrays[type].from(values, BigInt) : arrays[type].from(values);
}

/** Inputs that a run needs: those of the graph that are not constants. */
function inputsOf({ graph }: ModelProto): readonly ValueInfoProto[] {
  const constants = new Set(graph?.initializer.map(({ name }) => name));
  return graph?.input.filter(({ name }) => !constants.has(name)) ?? [];
}

function typeOf({ name, type }: ValueInfoProto): InputValues['type'] {
  const elemType = type?.tensorType?.elemType ?? 0;
  const found = types.get(elemType);
  if (found !== undefined) return found;
  throw new TopKError('UNSUPPORTED', `input ${name}: no values can be made for its type`, {
    expected: [...types.values()].join(', '),
    got: `element type ${elemType}`,
  });
}

/**
 * Inputs of given extents: masks of ones, positions in order, ids spread over the rows of the table that they look up, and
 * other numbers between -1 and 1. The same each time.
 */
export function madeUpInputs(model: ModelProto, extents: Extents): readonly InputValues[] {
  return inputsOf(model).map((input) => {
    const { name = '' } = input;
    const dims = (dimsOf(input) ?? []).map((dim, axis) => {
      const extent = extentOf(symbolOf(name, axis, dim), extents);
      if (extent !== undefined) return extent;
      throw new TopKError('INVALID_OPTION', `input ${name}: the extent of axis ${axis} is not known`, {
        expected: 'a number for every open extent',
        got: String(dim),
        fix: `Pass --at '${dim}=NUMBER'`,
      });
    });
    const type = typeOf(input);
    const size = sizeOf(dims);
    const rows = rowsLookedUp(model.graph as GraphProto, name);
    const last = dims.at(-1) ?? 1;
    const value = (at: number): number => {
      if (isFloat(type)) return Math.sin(at * 12.9898 + at * at * 0.37);
      if (type === 'bool' || /mask/i.test(name)) return 1;
      if (/position/i.test(name)) return at % last;
      return Math.floor(Math.abs(Math.sin(at * 78.233 + 1)) * rows) % rows;
    };
    return { name, type, dims, values: Array.from({ length: size }, (_, at) => value(at)) };
  });
}

/** Rows of the smallest table of weights that an input looks up: ids must lie below. */
function rowsLookedUp(graph: GraphProto, name: string): number {
  const tables = new Map(graph.initializer.map((tensor) => [tensor.name, tensor.dims[0]]));
  const rows = graph.node.flatMap(({ opType, input }) =>
    opType === 'Gather' && input[1] === name ? (tables.get(input[0] as string) ?? []) : [],
  );
  return rows.length > 0 ? Math.min(...rows) : 2;
}

/**
 * Inputs from JSON: an object with nested arrays by name.
 *
 * @throws TopKError INVALID_OPTION for missing inputs, names that are no inputs, arrays that are no tensors, and numbers that
 * the input's type does not have.
 */
export function givenInputs(model: ModelProto, given: unknown): readonly InputValues[] {
  const inputs = inputsOf(model);
  const byName: { readonly [name: string]: unknown } =
    typeof given === 'object' && given !== null ? { ...given } : {};
  const names = inputs.map(({ name = '' }) => name);
  const other = Object.keys(byName).find((name) => !names.includes(name));
  if (other !== undefined) {
    throw new TopKError('INVALID_OPTION', 'inputs of the model: unknown name', {
      expected: names.join(', '),
      got: other,
    });
  }
  return inputs.map((input) => {
    const { name = '' } = input;
    const type = typeOf(input);
    const dims: number[] = [];
    for (let inner = byName[name]; Array.isArray(inner); inner = inner[0]) dims.push(inner.length);
    const values: number[] = [];
    collect(byName[name], dims, 0, name, values);
    const bad = isFloat(type) ? undefined : values.find((value) => !Number.isSafeInteger(value));
    if (bad !== undefined) throw noTensor(name, `${bad} for ${type}`);
    return { name, type, dims, values };
  });
}

/** Appends the numbers of nested arrays whose extents are those of `dims`. */
function collect(
  nested: unknown,
  dims: readonly number[],
  axis: number,
  name: string,
  values: number[],
): void {
  if (axis < dims.length) {
    if (!Array.isArray(nested) || nested.length !== dims[axis]) {
      const got = Array.isArray(nested) ? `${nested.length} entries` : typeof nested;
      throw noTensor(name, `${got} at axis ${axis} of [${dims}]`);
    }
    for (const inner of nested) collect(inner, dims, axis + 1, name, values);
  } else if (typeof nested === 'number' || typeof nested === 'boolean') values.push(Number(nested));
  else throw noTensor(name, nested === undefined ? 'nothing' : JSON.stringify(nested).slice(0, 60));
}

function isFloat(type: InputValues['type']): boolean {
  return type === 'float32' || type === 'float16';
}

function noTensor(name: string, got: string): TopKError {
  const expected = 'nested arrays of numbers, all rows of equal length';
  return new TopKError('INVALID_OPTION', `input ${name}: bad values`, { expected, got });
}
