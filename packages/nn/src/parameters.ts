import {
  aFunction,
  type Backend,
  formatShape,
  type OptionKinds,
  readOptions,
  type Shape,
  type Tensor,
  TopKError,
} from '@topk-attention/core';
import { sameShape } from '@topk-attention/core/backend';
import type { TensorReader } from './safetensors/read.js';
import { isStoredFloat } from './safetensors/stored-dtype.js';
import { aSignal } from './signal.js';
import { uploadAll } from './upload.js';

/** A weight that a model needs. */
export interface ParameterSpec {
  /** Name in the checkpoint, and in the parameters. */
  readonly name: string;
  /** Other names under which a checkpoint may hold it, or a copy of it. */
  readonly aliases?: readonly string[];
  /** Shape in the checkpoint. */
  readonly shape: Shape;
  /** Transposed on upload: a linear layer's [out, in] becomes [in, out]. Rank 2 only. Default false. */
  readonly transposed?: boolean;
}

/** Weights on a backend by their names in the checkpoint. A plain object, so that `grad` takes it as a tree. */
export type ParameterTree = { readonly [name: string]: Tensor };

export interface LoadParametersOptions {
  /** True for a name that a checkpoint may hold although the model does not use it. Default: none. */
  readonly ignores?: (name: string) => boolean;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

const kinds: OptionKinds<LoadParametersOptions> = {
  ignores: aFunction(),
  signal: aSignal,
  onProgress: aFunction(),
};

/**
 * Weights of a checkpoint as f32 tensors. All names, dtypes and shapes are checked before the first upload. If one
 * cannot be read, everything uploaded is disposed of.
 *
 * @throws TopKError MISSING_WEIGHT, EXTRA_WEIGHT, SHAPE_MISMATCH, DTYPE_MISMATCH, RANK_MISMATCH, ABORTED, and whatever
 * reading throws.
 */
export async function loadParameters(
  backend: Backend,
  reader: TensorReader,
  specs: readonly ParameterSpec[],
  options?: LoadParametersOptions,
): Promise<ParameterTree> {
  const { ignores = () => false, signal, onProgress } = readOptions('loadParameters', options, kinds);
  const stored = specs.map((spec) => checkSpec(reader, spec));
  checkExtras(reader, specs, ignores);
  const uploads = specs.map((spec, at) => ({ ...spec, stored: stored[at] as string }));
  return uploadAll(backend, reader, uploads, { signal, onProgress });
}

/** Frees every weight; idempotent. */
export function disposeParameters(parameters: ParameterTree): void {
  for (const one of Object.values(parameters)) one.dispose();
}

/** The backend of the parameters, of which there is at least one. */
export const backendOf = (parameters: ParameterTree): Backend =>
  (Object.values(parameters)[0] as Tensor).backend;

/** Name under which the checkpoint holds a weight of the right dtype and shape. */
function checkSpec(reader: TensorReader, { name, aliases = [], shape, transposed }: ParameterSpec): string {
  if (transposed === true && shape.length !== 2) {
    throw new TopKError('RANK_MISMATCH', `loadParameters: ${name} cannot be transposed`, {
      expected: 'rank 2',
      got: formatShape(shape),
    });
  }
  const found = [name, ...aliases].find((candidate) => reader.tensors.has(candidate));
  const stored = found === undefined ? undefined : reader.tensors.get(found);
  if (found === undefined || stored === undefined) {
    throw new TopKError('MISSING_WEIGHT', `${reader.name}: weight ${name} is missing`, {
      expected: formatShape(shape),
      got: 'nothing',
      fix: 'Use the config.json that belongs to the weights, or download the checkpoint again',
    });
  }
  if (!isStoredFloat(stored.dtype)) {
    throw new TopKError('DTYPE_MISMATCH', `${reader.name}: weight ${found} holds no floating-point values`, {
      expected: 'F32, F16, BF16 or F64',
      got: stored.dtype,
      fix: 'Convert the checkpoint; quantised weights are not supported',
    });
  }
  if (!sameShape(stored.shape, shape)) {
    throw new TopKError('SHAPE_MISMATCH', `${reader.name}: weight ${found} has the wrong shape`, {
      expected: formatShape(shape),
      got: formatShape(stored.shape),
      fix: 'Use the config.json that belongs to the weights',
    });
  }
  return found;
}

function checkExtras(
  reader: TensorReader,
  specs: readonly ParameterSpec[],
  ignores: (name: string) => boolean,
): void {
  const known = new Set(specs.flatMap(({ name, aliases = [] }) => [name, ...aliases]));
  const extra = [...reader.tensors.keys()].filter((name) => !known.has(name) && !ignores(name));
  if (extra.length === 0) return;
  throw new TopKError('EXTRA_WEIGHT', `${reader.name}: weights that the model does not have`, {
    expected: `only the ${specs.length} of its configuration`,
    got: extra.length > 3 ? `${extra.slice(0, 3).join(', ')} and ${extra.length - 3} more` : extra.join(', '),
    fix: 'Use the config.json that belongs to the weights',
  });
}
