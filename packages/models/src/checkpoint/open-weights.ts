import { TopKError } from '@topk-attention/core';
import {
  type FileSource,
  openNeeded,
  openOptional,
  openSafetensors,
  openShards,
  readOptionalText,
  type TensorReader,
} from '@topk-attention/nn';
import { WEIGHTS, WEIGHTS_INDEX } from './files.js';

/**
 * The weights of a folder: the shards listed in the index, or the single file if there is none. The caller closes it.
 */
export async function openWeights(source: FileSource): Promise<TensorReader> {
  const index = await readOptionalText(source, WEIGHTS_INDEX);
  if (index !== undefined) {
    try {
      return await openShards(`${source.name}: ${WEIGHTS_INDEX}`, index, (file) =>
        openNeeded(source, file, 'Download every shard of the checkpoint'),
      );
    } catch (error) {
      // The index may be a leftover: the checkpoint was later saved in one file.
      const whole = isNotFound(error) ? await openOptional(source, WEIGHTS) : undefined;
      if (whole === undefined) throw error;
      return openSafetensors(whole);
    }
  }
  const fix = 'Save the checkpoint with safe_serialization=True; .bin files are not supported';
  return openSafetensors(await openNeeded(source, WEIGHTS, fix));
}

function isNotFound(error: unknown): boolean {
  return error instanceof TopKError && error.code === 'FILE_NOT_FOUND';
}
