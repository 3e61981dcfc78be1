import {
  aFunction,
  aNumber,
  type Backend,
  type OptionKinds,
  readOptions,
  type Tensor,
  tensor,
} from '@topk-attention/core';
import { disposeParameters, type ParameterTree } from '../parameters.js';
import type { TensorReader } from '../safetensors/read.js';
import { compareStateDict, StateDictError, storedName } from './compare.js';
import type { Declared } from './declaration.js';
import { initializeNamed } from './initialize.js';
import { readerOf, type StateDict } from './state-dict.js';

export interface LoadStateDictOptions {
  /** True for a name that the file may hold although the layer does not have it. Default: none. */
  readonly ignores?: (name: string) => boolean;
  /** Parameters that the file lacks are initialised from this seed, a new head for example. Default: they are an error. */
  readonly initializeMissing?: number;
}

const kinds: OptionKinds<LoadStateDictOptions> = { ignores: aFunction(), initializeMissing: aNumber };

/**
 * The parameters of a layer from a state dict or an open file, on a backend. All or nothing: every name and shape is checked
 * before the first upload, and what was uploaded goes when a later tensor cannot be read. F16, BF16 and F64 become f32.
 *
 * @throws StateDictError (a TopKError STATE_DICT_MISMATCH) with all names that are missing, unexpected or of another shape;
 * what reading and uploading throw.
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
  const loaded: { [name: string]: Tensor } = {};
  try {
    if (initializeMissing !== undefined) {
      Object.assign(loaded, initializeNamed(backend, layer, initializeMissing, found.missing));
    }
    for (const [name, { shape, aliases }] of Object.entries(layer.parameters)) {
      const stored = storedName(reader.tensors, name, aliases);
      if (stored === undefined) continue;
      loaded[name] = tensor(backend, await reader.readFloat32(stored), shape);
      void loaded[name].handle;
    }
    // In the order of the declarations, which is that of `initialize`: optimisers and sums go through trees in order.
    return Object.fromEntries(Object.keys(layer.parameters).map((name) => [name, loaded[name] as Tensor]));
  } catch (error) {
    disposeParameters(loaded);
    throw error;
  }
}
