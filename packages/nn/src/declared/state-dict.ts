import { describeValue, Tensor, TopKError } from '@topk-attention/core';
import type { ParameterTree } from '../parameters.js';
import { requireTensor } from '../require.js';
import type { TensorReader } from '../safetensors/read.js';
import { toFloat32 } from '../safetensors/widen.js';
import type { TensorToWrite } from '../safetensors/write.js';

/** Parameter values by name: what `encodeSafetensors` writes and PyTorch reads. */
export interface StateDict {
  readonly [name: string]: TensorToWrite;
}

/**
 * The values of parameters, all read back at once. Names and shapes are the tree's, which follow PyTorch.
 *
 * @throws TopKError DTYPE_MISMATCH for a parameter that is not f32, and whatever reading a tensor throws.
 *
 * @example
 * const parameters = initialize(backend, linearLayer(3, 2), 42);
 * const bytes = encodeSafetensors(await stateDict(parameters));
 */
export async function stateDict(parameters: ParameterTree): Promise<StateDict> {
  const read = Object.entries(parameters).map(async ([name, one]): Promise<[string, TensorToWrite]> => {
    requireTensor('stateDict', name, one, { dtype: 'f32' });
    return [name, { dtype: 'F32', shape: one.shape, data: await float32Of(one) }];
  });
  return Object.fromEntries(await Promise.all(read));
}

/**
 * All tensors of an open file, as they are stored, to be renamed or changed before `loadStateDict`. The file stays open.
 *
 * @throws TopKError UNSUPPORTED for a tensor of 8 bits or fewer, such as F8_E4M3; whatever reading throws.
 *
 * @example
 * const file = await openSafetensors(encodeSafetensors(await stateDict(initialize(backend, linearLayer(3, 2), 42))));
 * const renamed = Object.entries(await readStateDict(file)).map(([name, stored]) => [`head.${name}`, stored]);
 * const dict = Object.fromEntries(renamed);
 */
export async function readStateDict(file: TensorReader): Promise<StateDict> {
  const read: { [name: string]: TensorToWrite } = {};
  for (const [name, { dtype, shape }] of file.tensors)
    read[name] = { dtype, shape, data: await file.read(name) };
  return read;
}

/** The reference backend's f64 mode gives doubles. */
async function float32Of(one: Tensor): Promise<Float32Array> {
  const data = await one.data();
  return data instanceof Float32Array ? data : Float32Array.from(data);
}

/** A reader for a state dict in memory; an open file stays as it is. */
export function readerOf(dict: StateDict | TensorReader): TensorReader {
  requireDict(dict);
  if (isReader(dict)) return dict;
  const read = async (name: string): Promise<TensorToWrite> => {
    const found = dict[name];
    if (found !== undefined) return found;
    throw new TopKError('MISSING_WEIGHT', `state dict: no tensor ${name}`, { expected: 'one of its names' });
  };
  return {
    name: 'state dict',
    tensors: new Map(
      Object.entries(dict).map(([name, { dtype, shape }]) => [name, { dtype, shape, begin: 0, end: 0 }]),
    ),
    read: async (name) => (await read(name)).data,
    readFloat32: async (name) => {
      const { dtype, data } = await read(name);
      return toFloat32(dtype, data);
    },
    close: async () => {},
  };
}

function isReader(dict: StateDict | TensorReader): dict is TensorReader {
  return dict.tensors instanceof Map;
}

/** @throws TopKError INVALID_OPTION for a path, and for parameters in place of their values. */
function requireDict(dict: StateDict | TensorReader): void {
  const isObject = typeof dict === 'object' && dict !== null;
  const parameter = isObject && Object.values(dict).some((one) => one instanceof Tensor);
  if (isObject && !parameter) return;
  throw new TopKError('INVALID_OPTION', 'state dict: this is none', {
    expected: 'a state dict or an open file',
    got: parameter ? 'a tree of parameters' : describeValue(dict),
    fix: parameter
      ? 'Read the values back: await stateDict(parameters)'
      : 'Open a path: await openSafetensors(await openFile(path))',
  });
}
