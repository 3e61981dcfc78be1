import { existsSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { TopKError } from '@topk-attention/core';

/** The folder of a model: the bundled one, or the user's. @throws TopKError FILE_NOT_FOUND. */
export function modelFolder(model: string): string {
  const isEmbedded = model === 'embedded';
  const folder = isEmbedded ? fileURLToPath(new URL('../../model', import.meta.url)) : resolve(model);
  const isFolder = existsSync(folder) && statSync(folder).isDirectory();
  if (isFolder && existsSync(join(folder, 'config.json'))) return folder;
  throw new TopKError('FILE_NOT_FOUND', `there is no model in ${folder}`, {
    expected: 'a Hugging Face folder with config.json, model.safetensors and tokenizer.json',
    got: isFolder ? 'a folder without config.json' : existsSync(folder) ? 'a file' : 'nothing',
    fix: isEmbedded
      ? 'Check out the repository with its model folder'
      : 'Pass --model the folder of a T5 or its name on the Hub, organisation/name, or leave it out',
  });
}
