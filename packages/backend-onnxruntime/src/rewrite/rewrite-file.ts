import { readOptions, TopKError } from '@topk-attention/core';
import { decodeModel } from '../onnx/read-model.js';
import { encodeParts } from '../onnx/write-model.js';
import { externalFiles } from './files/external-data.js';
import { nodeModules } from './files/node-modules.js';
import { pathOf } from './files/path-of.js';
import { readFile } from './files/read-file.js';
import { type RewriteOptions, rewriteKinds } from './options.js';
import type { RewriteReport } from './report.js';
import { rewriteDecoded } from './rewrite-model.js';

const COPIED_AT_ONCE = 2 ** 20;

/**
 * Rewrites a model's file into another one. Weights in files beside the model are copied beside the new one, unless it lies
 * in the same folder. Every file appears whole or not at all, and none that exists is changed.
 *
 * @param source Path of the model, or its file URL.
 * @param target Path or file URL of the new file; nothing may be there yet.
 * @throws TopKError as `rewriteModel` does; FILE_NOT_FOUND for a missing model or file of weights; FILE_CORRUPT for weights
 * outside of the model's folder; FILE_NOT_FOUND also for a target that cannot be written; INVALID_OPTION for one that exists; UNSUPPORTED in a browser.
 */
export async function rewriteFile(
  source: string | URL,
  target: string | URL,
  options?: RewriteOptions,
): Promise<RewriteReport> {
  const given = readOptions('rewriteFile', options, rewriteKinds);
  const [original, copy] = [
    await pathOf('rewriteFile', 'source', source),
    await pathOf('rewriteFile', 'target', target),
  ];
  return rewritePath(original, copy, given);
}

async function rewritePath(source: string, target: string, given: RewriteOptions): Promise<RewriteReport> {
  const { fs, path } = await nodeModules();
  const original = decodeModel(await readFile(source), source);
  const external = await externalFiles(original, path.dirname(source));
  const { model, report } = rewriteDecoded(original, source, given);
  const [from, to] = [path.dirname(path.resolve(source)), path.dirname(path.resolve(target))];
  const isBeside = (await fs.realpath(from)) === (await realFolder(to));
  const copies = isBeside ? [] : external.map((file) => ({ ...file, to: path.join(to, file.location) }));
  for (const place of [target, ...copies.map((copy) => copy.to)]) await refuseExisting(place);
  for (const copy of copies) {
    await fs.mkdir(path.dirname(copy.to), { recursive: true });
    const weights = await fs.open(copy.path);
    try {
      await place(copy.to, weights.createReadStream({ highWaterMark: COPIED_AT_ONCE, autoClose: false }));
    } finally {
      await weights.close();
    }
  }
  // The weights in the file are written from where they were read.
  await place(target, encodeParts(model).parts);
  return report;
}

async function realFolder(folder: string): Promise<string> {
  const { fs } = await nodeModules();
  try {
    const real = await fs.realpath(folder);
    if (!(await fs.stat(real)).isDirectory()) throw new Error('not a folder');
    return real;
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
async function place(file: string, content: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<void> {
  const { fs } = await nodeModules();
  const temporary = `${file}.${Math.random().toString(36).slice(2)}.tmp`;
  try {
    // Without flushing, a crash may leave an empty file under the new name.
    await fs.writeFile(temporary, content, { flag: 'wx', flush: true });
    await fs.rename(temporary, file);
  } catch (cause) {
    // Where it was not even made, this fails as well: the first reason is the one to tell.
    await fs.rm(temporary, { force: true }).catch(() => {});
    throw new TopKError('FILE_NOT_FOUND', `rewriteFile: ${file} cannot be written`, {
      got: cause instanceof Error ? cause.message : String(cause),
      fix: 'Choose a file in a folder that you may write to, on a disk with room',
      cause,
    });
  }
}
