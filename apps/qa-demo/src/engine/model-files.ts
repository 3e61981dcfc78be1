import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isObject } from '@topk-attention/app-kit';
import { TopKError } from '@topk-attention/core';
import { type FileSource, type HubOptions, hub } from '@topk-attention/models';
import { modelFolder } from './model-folder.js';
import type { EngineSettings, Progress } from './protocol.js';

const READ_BYTES = 2 ** 24;

/** The files of a model: a folder, or what the Hub lists for a name. */
export type ModelFiles = string | FileSource;

/**
 * Where the files of a model are: in the bundled folder, in one of the user's, or on the Hub.
 *
 * @param model `embedded`, a folder, or `organisation/name` on the Hub where there is no such folder.
 * @throws TopKError FILE_NOT_FOUND; what `hub` throws
 */
export function modelFiles(model: string, options: HubOptions = {}): ModelFiles {
  // What begins as a path or has no organisation is a folder that is missing.
  const isName = /^[^./\\~:][^/\\:]*\/[^/\\:]+$/.test(model);
  return isName && !existsSync(model) ? hub(model, options) : modelFolder(model);
}

/** The files of the settings' model; downloads are reported as stages. @throws as `modelFiles` */
export function settingsFiles(
  { model, isOffline }: Pick<EngineSettings, 'model' | 'isOffline'>,
  onEvent: (event: Progress) => void,
): ModelFiles {
  return modelFiles(model, {
    ...(isOffline && { localFilesOnly: true }),
    onProgress: ({ done, total, file }) =>
      onEvent({ type: 'progress', stage: `downloading ${file}`, done, total }),
  });
}

/** Tokens of the longest input a T5 was trained on: `n_positions` of its config.json. */
export async function trainedTokens(files: ModelFiles): Promise<number | undefined> {
  // loadT5 reports a broken config.json.
  const config = await jsonOf(files, 'config.json');
  return isObject(config) && typeof config.n_positions === 'number' ? config.n_positions : undefined;
}

/** SHA-256 over a model's configuration, tokenizer and weights. */
export async function modelHash(files: ModelFiles): Promise<string> {
  const hash = createHash('sha256');
  for (const name of (await namesOf(files)).sort()) {
    hash.update(`${name}\n`);
    for await (const chunk of contentOf(files, name)) hash.update(chunk);
  }
  return hash.digest('hex');
}

async function namesOf(files: ModelFiles): Promise<string[]> {
  if (typeof files === 'string') {
    return (await readdir(files)).filter((name) => /^(config|tokenizer)\.json$|\.safetensors$/.test(name));
  }
  const index = await jsonOf(files, 'model.safetensors.index.json');
  const weights =
    isObject(index) && isObject(index.weight_map)
      ? new Set(Object.values(index.weight_map).map(String))
      : ['model.safetensors'];
  return ['config.json', 'tokenizer.json', ...weights];
}

async function* contentOf(files: ModelFiles, name: string): AsyncGenerator<Uint8Array> {
  if (typeof files === 'string') {
    yield* createReadStream(join(files, name)) as AsyncIterable<Uint8Array>;
    return;
  }
  const file = await files.open(name);
  if (file === undefined) return;
  try {
    for (let at = 0; at < file.size; at += READ_BYTES) yield await file.read(at, READ_BYTES);
  } finally {
    await file.close();
  }
}

/** Undefined where there is no such file, or no JSON in it. */
async function jsonOf(files: ModelFiles, name: string): Promise<unknown> {
  try {
    const parts: Uint8Array[] = [];
    if (typeof files === 'string') parts.push(await readFile(join(files, name)));
    else for await (const part of contentOf(files, name)) parts.push(part);
    return JSON.parse(Buffer.concat(parts).toString());
  } catch {
    return undefined;
  }
}

const hubFixes: ReadonlyMap<string, string> = new Map([
  ['NOT_CACHED', 'Ask once without --offline, or set HF_HUB_CACHE to the folder of the cache'],
  ['DOWNLOAD_FAILED', 'Check the connection and HF_ENDPOINT, or try again later'],
  [
    'REPO_NOT_FOUND',
    'Pass --model a name as the Hub shows it, or a folder such as ./model; set HF_TOKEN for a private one',
  ],
]);

/** An error of the Hub in terms of the command line; others as they are. */
export function hubError(error: unknown): unknown {
  const fix = error instanceof TopKError ? hubFixes.get(error.code) : undefined;
  if (!(error instanceof TopKError) || fix === undefined) return error;
  const { code, expected, got, message } = error;
  return new TopKError(code, message.split(': expected ')[0] ?? message, {
    ...(expected !== undefined && { expected }),
    ...(got !== undefined && { got }),
    ...{ fix, cause: error },
  });
}
