import { readOptions, TopKError } from '@topk-attention/core';
import { decodeModel } from '../onnx/read-model.js';
import { externalFiles } from './files/external-data.js';
import { nodeModules } from './files/node-modules.js';
import type { RewriteReport } from './report.js';
import { type RewriteOptions, rewriteKinds, rewriteModel } from './rewrite-model.js';

/**
 * Rewrites a model's file into another one. Weights in files beside the model are copied beside the new one, unless it lies
 * in the same folder. Every file appears whole or not at all, and none that exists is changed.
 *
 * @param source Path of the model.
 * @param target Path of the new file; nothing may be there yet.
 * @throws TopKError as `rewriteModel` does; FILE_NOT_FOUND for a missing model or file of weights; FILE_CORRUPT for weights
 * outside of the model's folder; INVALID_OPTION for a target that exists; UNSUPPORTED in a browser.
 */
export async function rewriteFile(
  source: string,
  target: string,
  options?: RewriteOptions,
): Promise<RewriteReport> {
  const given = readOptions('rewriteFile', options, rewriteKinds);
  const { fs, path } = await nodeModules();
  const bytes = await readModel(source);
  const external = await externalFiles(decodeModel(bytes, source), path.dirname(source));
  const { model, report } = rewriteModel(bytes, given);
  const [from, to] = [path.dirname(path.resolve(source)), path.dirname(path.resolve(target))];
  const isBeside = (await fs.realpath(from)) === (await realFolder(to));
  const copies = isBeside ? [] : external.map((file) => ({ ...file, to: path.join(to, file.location) }));
  for (const place of [target, ...copies.map((copy) => copy.to)]) await refuseExisting(place);
  for (const copy of copies) {
    await fs.mkdir(path.dirname(copy.to), { recursive: true });
    await place(copy.to, (temporary) => fs.copyFile(copy.path, temporary));
  }
  await place(target, async (temporary) => {
    const handle = await fs.open(temporary, 'wx');
    try {
      await handle.writeFile(model);
      // Without this, a crash may leave an empty file under the new name.
      await handle.sync();
    } finally {
      await handle.close();
    }
  });
  return report;
}

async function readModel(source: string): Promise<Uint8Array> {
  const { fs } = await nodeModules();
  try {
    return await fs.readFile(source);
  } catch (cause) {
    throw new TopKError('FILE_NOT_FOUND', `cannot open ${source}`, {
      expected: 'a readable file of at most 2 GiB',
      got: cause instanceof Error ? cause.message : String(cause),
      fix: 'Check the path',
      cause,
    });
  }
}

async function realFolder(folder: string): Promise<string> {
  const { fs } = await nodeModules();
  try {
    return await fs.realpath(folder);
  } catch (cause) {
    throw new TopKError('FILE_NOT_FOUND', `rewriteFile: no folder ${folder}`, {
      expected: 'a folder for the new file',
      fix: 'Make the folder first',
      cause,
    });
  }
}

async function refuseExisting(file: string): Promise<void> {
  const { fs } = await nodeModules();
  const found = await fs.lstat(file).catch(() => undefined);
  if (found === undefined) return;
  throw new TopKError('INVALID_OPTION', `rewriteFile: ${file} is there already`, {
    expected: 'a path of no file',
    fix: 'Name another target, or remove the file first',
  });
}

/** Writes under another name in the same folder first: readers see no file, or the whole one. */
async function place(file: string, write: (temporary: string) => Promise<void>): Promise<void> {
  const { fs } = await nodeModules();
  const temporary = `${file}.${Math.random().toString(36).slice(2)}.tmp`;
  try {
    await write(temporary);
    await fs.rename(temporary, file);
  } finally {
    await fs.rm(temporary, { force: true });
  }
}
