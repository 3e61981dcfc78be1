import { readFile } from 'node:fs/promises';
import type { Backend } from '@topk-attention/core';
import { encodeSafetensors, openSafetensors, type TensorToWrite } from '@topk-attention/nn';
import { goldensFolder } from '@topk-attention/t5-goldens';
import { type Encoder, type EncoderTask, loadEncoder } from '../../src/index.js';
import { MemorySource } from '../support/sources.js';

export type Family = 'bert' | 'distilbert' | 'roberta';

export function folderOf(family: Family): string {
  return `${goldensFolder}/encoders/${family}`;
}

/** A model of the goldens with one of its heads. */
export function loadGolden(backend: Backend, family: Family, task?: EncoderTask): Promise<Encoder> {
  return loadEncoder({ backend, source: folderOf(family), ...(task && { task }) });
}

/** A model of the goldens in memory, its configuration and the names of its weights changed. */
export async function changedCheckpoint(
  family: Family,
  config: { readonly [key: string]: unknown },
  rename: (name: string) => string | undefined = (name) => name,
  more: { readonly [name: string]: TensorToWrite } = {},
): Promise<MemorySource> {
  const read = (file: string): Promise<Buffer> => readFile(`${folderOf(family)}/${file}`);
  const reader = await openSafetensors(new Uint8Array(await read('model.safetensors')));
  const tensors: { [name: string]: TensorToWrite } = { ...more };
  for (const [name, { dtype, shape }] of reader.tensors) {
    const own = rename(name);
    if (own !== undefined) tensors[own] = { dtype, shape, data: await reader.read(name) };
  }
  const given: object = JSON.parse((await read('config.json')).toString());
  return new MemorySource({
    'config.json': JSON.stringify({ ...given, ...config }),
    'model.safetensors': encodeSafetensors(tensors),
    'tokenizer.json': (await read('tokenizer.json')).toString(),
  });
}
