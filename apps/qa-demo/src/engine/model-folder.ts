import { createHash } from 'node:crypto';
import { createReadStream, existsSync, statSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isObject } from '@topk-attention/app-kit';
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
      : 'Pass --model the folder of a T5, or leave it out',
  });
}

/** Tokens of the longest input a T5 was trained on: `n_positions` of its config.json. */
export async function trainedTokens(folder: string): Promise<number | undefined> {
  // loadT5 reports a broken config.json.
  const config: unknown = await readFile(join(folder, 'config.json'), 'utf8')
    .then(JSON.parse)
    .catch(() => undefined);
  return isObject(config) && typeof config.n_positions === 'number' ? config.n_positions : undefined;
}

/** SHA-256 over a model's configuration, tokenizer and weights. */
export async function modelHash(folder: string): Promise<string> {
  const names = (await readdir(folder)).filter((name) =>
    /^(config|tokenizer)\.json$|\.safetensors$/.test(name),
  );
  const hash = createHash('sha256');
  for (const name of names.sort()) {
    hash.update(`${name}\n`);
    for await (const chunk of createReadStream(join(folder, name))) hash.update(chunk as Buffer);
  }
  return hash.digest('hex');
}
