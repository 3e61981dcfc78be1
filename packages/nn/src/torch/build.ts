import { formatShape } from '@topk-attention/core';
import type { StoredDType } from '../safetensors/stored-dtype.js';
import { corrupt, unsafe, unsupported } from './faults.js';
import { Dict, PythonName, Storage, TorchTensor, Tuple, type Value } from './values.js';

const storageDTypes: { readonly [name: string]: StoredDType } = {
  'torch FloatStorage': 'F32',
  'torch DoubleStorage': 'F64',
  'torch HalfStorage': 'F16',
  'torch BFloat16Storage': 'BF16',
  'torch LongStorage': 'I64',
  'torch IntStorage': 'I32',
  'torch ShortStorage': 'I16',
  'torch CharStorage': 'I8',
  'torch ByteStorage': 'U8',
  'torch BoolStorage': 'BOOL',
};

const ORDERED_DICT = 'collections OrderedDict';
const REBUILD_TENSOR = 'torch._utils _rebuild_tensor_v2';
const REBUILD_PARAMETER = 'torch._utils _rebuild_parameter';

/** Names that mean something here. Everything else ends the reading. */
const known: ReadonlySet<string> = new Set([
  ORDERED_DICT,
  REBUILD_TENSOR,
  REBUILD_PARAMETER,
  ...Object.keys(storageDTypes),
]);

/** @throws TopKError UNSAFE_FILE for a name that weights do not need */
export function pythonName(file: string, module: string, name: string): PythonName {
  const whole = `${module} ${name}`;
  if (known.has(whole)) return new PythonName(whole);
  throw unsafe(
    file,
    'the pickle names something else than weights',
    JSON.stringify(`${module}.${name}`.slice(0, 120)),
  );
}

/** What the call of a name gives: a dict, a tensor. @throws TopKError UNSAFE_FILE, FILE_CORRUPT, UNSUPPORTED */
export function call(file: string, callee: Value, given: Value): Value {
  const name = callee instanceof PythonName ? callee.name : undefined;
  const args = given instanceof Tuple ? given.items : undefined;
  if (name === ORDERED_DICT && args?.length === 0) return new Dict();
  if (name === REBUILD_TENSOR && args !== undefined) return rebuildTensor(file, args);
  // A parameter is its tensor; whether it wants gradients is for the reader to say.
  if (name === REBUILD_PARAMETER && args?.[0] instanceof TorchTensor) return args[0];
  throw unsafe(file, 'the pickle calls something else than what builds tensors', name ?? 'no name');
}

/** The storage that a persistent id names. @throws TopKError FILE_CORRUPT, UNSUPPORTED */
export function storageOf(file: string, id: Value): Storage {
  const [kind, type, key, , elements, view] = id instanceof Tuple ? id.items : [];
  const dtype = type instanceof PythonName ? storageDTypes[type.name] : undefined;
  if (kind !== 'storage' || dtype === undefined || typeof key !== 'string' || !isCount(elements)) {
    throw corrupt(file, 'a storage is not described', 'its type, key, device and length', 'something else');
  }
  if (view !== undefined && view !== null) throw unsupported(file, 'a storage is a view of another', key);
  return new Storage(key, dtype, elements);
}

function rebuildTensor(file: string, args: readonly Value[]): TorchTensor {
  const [storage, offset, size, stride] = args;
  const shape = counts(size);
  const strides = counts(stride);
  if (
    !(storage instanceof Storage) ||
    !isCount(offset) ||
    shape === undefined ||
    strides?.length !== shape.length
  ) {
    throw corrupt(
      file,
      'a tensor is not described',
      'a storage, an offset, a shape and as many strides',
      'something else',
    );
  }
  const elements = product(shape);
  // Index of the last element: in doubles, so that huge sizes become huge numbers and do not wrap around.
  const last =
    elements === 0
      ? -1
      : shape.reduce((at, extent, axis) => at + (extent - 1) * (strides[axis] as number), offset);
  if (last >= storage.elements) {
    throw corrupt(
      file,
      'a tensor reaches beyond its storage',
      `up to ${storage.elements} elements`,
      `${formatShape(shape)} with strides ${formatShape(strides)} from ${offset}`,
    );
  }
  // Stride 0 repeats an element at no cost in the file: a small file could ask for any amount of memory.
  if (elements > storage.elements) {
    throw unsupported(
      file,
      'a tensor repeats elements of its storage',
      `${formatShape(shape)} over ${storage.elements} elements`,
    );
  }
  return new TorchTensor(storage, offset, shape, strides);
}

export function product(shape: readonly number[]): number {
  return shape.reduce((all, extent) => all * extent, 1);
}

function counts(value: Value): readonly number[] | undefined {
  if (!(value instanceof Tuple) || value.items.length > 64) return undefined;
  return value.items.every(isCount) ? value.items.filter(isCount) : undefined;
}

export function isCount(value: Value): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
