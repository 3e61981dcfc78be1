import { type FileSource, loadParameters, type ParameterSpec, type ParameterTree } from '@topk-attention/nn';
import type { LoadCheckpointOptions } from './load-options.js';
import { openWeights } from './open-weights.js';

/**
 * The weights of a folder on a backend.
 *
 * @param ignores true for a name that a checkpoint may hold although the model does not use it
 * @throws TopKError as `loadParameters`, and for files that are missing or broken
 */
export async function readParameters(
  source: FileSource,
  specs: readonly ParameterSpec[],
  ignores: (name: string) => boolean,
  { backend, signal, onProgress }: LoadCheckpointOptions,
): Promise<ParameterTree> {
  const reader = await openWeights(source);
  try {
    return await loadParameters(backend, reader, specs, {
      ignores,
      ...(signal && { signal }),
      ...(onProgress && { onProgress: (done, total) => onProgress({ stage: 'load', done, total }) }),
    });
  } finally {
    await reader.close();
  }
}
