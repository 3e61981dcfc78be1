import {
  aFunction,
  aNumber,
  type Backend,
  type OptionKinds,
  readOptions,
  type Tensor,
} from '@topk-attention/core';
import { disposeParameters, type ParameterTree } from '../parameters.js';
import type { TensorReader } from '../safetensors/read.js';
import { uploadAll } from '../upload.js';
import { compareStateDict, StateDictError, storedName } from './compare.js';
import type { Declared } from './declaration.js';
import { initializeNamed } from './initialize.js';
import { readerOf, type StateDict } from './state-dict.js';

export interface LoadStateDictOptions {
  /** True for a name that the file may hold although the layer does not have it. Default: none. */
  readonly ignores?: (name: string) => boolean;
  /** Seed that initialises parameters the file lacks, such as a new head. Default: missing parameters are an error. */
  readonly initializeMissing?: number;
}

const kinds: OptionKinds<LoadStateDictOptions> = { ignores: aFunction(), initializeMissing: aNumber };

/**
 * Loads the parameters of a layer from a state dict or an open file onto a backend. All or nothing: checks every name
 * and shape before the first upload, and disposes everything uploaded if a later tensor cannot be read. F16, BF16 and
 * F64 become f32.
 *
 * @throws StateDictError (a TopKError STATE_DICT_MISMATCH) with all names that are missing, unexpected or mismatched in
 * shape; whatever reading and uploading throw.
 *
 * @example
 * const layer = linearLayer(3, 2);
 * const saved = await stateDict(initialize(backend, layer, 42));
 * const parameters = await loadStateDict(backend, layer, saved);
 */
export async function loadStateDict(
  backend: Backend,
  layer: Declared,
  dict: StateDict | TensorReader,
  options?: LoadStateDictOptions,
): Promise<ParameterTree> {
  const { ignores = () => false, initializeMissing } = readOptions('loadStateDict', options, kinds);
  const reader = readerOf(dict);
  const found = compareStateDict(layer, reader);
  const differences = {
    missing: initializeMissing === undefined ? found.missing : [],
    unexpected: found.unexpected.filter((name) => !ignores(name)),
    mismatched: found.mismatched,
  };
  if (Object.values(differences).some((list) => list.length > 0)) {
    throw new StateDictError(`loadStateDict: ${reader.name}`, differences);
  }
  const uploads = Object.entries(layer.parameters).flatMap(([name, { shape, aliases }]) => {
    const stored = storedName(reader.tensors, name, aliases);
    return stored === undefined ? [] : [{ name, stored, shape }];
  });
  const made =
    initializeMissing === undefined ? {} : initializeNamed(backend, layer, initializeMissing, found.missing);
  try {
    const all = { ...made, ...(await uploadAll(backend, reader, uploads)) };
    // In declaration order, as in `initialize`: optimisers and sums visit trees in order.
    return Object.fromEntries(Object.keys(layer.parameters).map((name) => [name, all[name] as Tensor]));
  } catch (error) {
    disposeParameters(made);
    throw error;
  }
}
