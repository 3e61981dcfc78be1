import { TopKError } from '@topk-attention/core';
import {
  type ByteSource,
  type FileSource,
  openNeeded,
  openOptional,
  openSafetensors,
  openShards,
  openTorchFile,
  readOptionalText,
  type TensorReader,
} from '@topk-attention/nn';
import { TORCH_WEIGHTS, TORCH_WEIGHTS_INDEX, WEIGHTS, WEIGHTS_INDEX } from './files.js';

/** Names of weights in one file format, and what opens one. */
interface Format {
  readonly whole: string;
  readonly index: string;
  open(source: ByteSource): Promise<TensorReader>;
}

/** The format to look for first stands first. */
const formats: readonly Format[] = [
  { whole: WEIGHTS, index: WEIGHTS_INDEX, open: openSafetensors },
  { whole: TORCH_WEIGHTS, index: TORCH_WEIGHTS_INDEX, open: openTorchFile },
];

/**
 * The weights of a folder: safetensors, else the files of torch.save; the shards listed in an index, or the single file if
 * there is none. The caller closes it.
 */
export async function openWeights(source: FileSource): Promise<TensorReader> {
  for (const format of formats) {
    const found = (await openSharded(source, format)) ?? (await openWhole(source, format));
    if (found !== undefined) return found;
  }
  // Says why, where a source knows.
  return openSafetensors(
    await openNeeded(
      source,
      WEIGHTS,
      `Name the folder of a checkpoint: it has ${WEIGHTS} or ${TORCH_WEIGHTS}`,
    ),
  );
}

async function openSharded(source: FileSource, format: Format): Promise<TensorReader | undefined> {
  const index = await readOptionalText(source, format.index);
  if (index === undefined) return undefined;
  const openShard = (file: string): Promise<ByteSource> =>
    openNeeded(source, file, 'Download every shard of the checkpoint');
  try {
    return await openShards(`${source.name}: ${format.index}`, index, openShard, format.open);
  } catch (error) {
    // The index may be a leftover: the checkpoint was later saved in one file.
    const whole = isNotFound(error) ? await openWhole(source, format) : undefined;
    if (whole === undefined) throw error;
    return whole;
  }
}

async function openWhole(source: FileSource, { whole, open }: Format): Promise<TensorReader | undefined> {
  const file = await openOptional(source, whole);
  return file && open(file);
}

function isNotFound(error: unknown): boolean {
  return error instanceof TopKError && (error.code === 'FILE_NOT_FOUND' || error.code === 'NOT_CACHED');
}
