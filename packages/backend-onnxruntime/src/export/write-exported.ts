import { aValue, describeValue, type OptionKinds, readOptions, TopKError } from '@topk-attention/core';
import { nodeModules } from '../rewrite/files/node-modules.js';
import { pathOf } from '../rewrite/files/path-of.js';
import type { ExportedFile, FilesByPath } from './exported-file.js';

export interface WriteExportedOptions {
  /**
   * The Hugging Face folder that the model was loaded from. Its tokenizer comes along, which transformers.js needs, and
   * its `generation_config.json` takes the place of the exported one. Default: neither.
   */
  readonly checkpoint?: string | URL;
}

const writeKinds: OptionKinds<WriteExportedOptions> = {
  checkpoint: aValue<string | URL>(
    'a path or a file URL',
    (value) => typeof value === 'string' || value instanceof URL,
  ),
};

/** Without these two transformers.js has no tokenizer. */
const NEEDED = ['tokenizer.json', 'tokenizer_config.json'];
/** What comes along as well where the checkpoint has it. */
const COMPANIONS = ['special_tokens_map.json', 'added_tokens.json', 'spiece.model', 'generation_config.json'];

/**
 * Writes exported files as a folder that appears whole or not at all. Weights are read from the model one at a time, so it
 * must not be disposed of before.
 *
 * @param files Their paths lie within the folder, with `/` between folder and name.
 * @param target Path of the folder, or its file URL; nothing may be there yet.
 * @returns What the folder holds: paths within it, with their bytes.
 * @throws TopKError INVALID_OPTION for a target that exists, for no files and for paths out of the folder; FILE_NOT_FOUND
 * for a checkpoint without tokenizer.json or tokenizer_config.json and for a target that cannot be written; DISPOSED for a
 * model disposed of before; UNSUPPORTED in a browser, and for a weight beyond the numbers of half precision.
 */
export async function writeExported(
  files: FilesByPath,
  target: string | URL,
  options?: WriteExportedOptions,
): Promise<{ readonly [path: string]: number }> {
  const { checkpoint } = readOptions('writeExported', options, writeKinds);
  checkFiles(files);
  const folder = await pathOf('writeExported', 'target', target);
  const companions =
    checkpoint === undefined
      ? {}
      : await companionsOf(await pathOf('writeExported', 'checkpoint', checkpoint));
  return writeFolder({ ...files, ...companions }, folder);
}

async function writeFolder(all: FilesByPath, target: string): Promise<{ readonly [path: string]: number }> {
  const { fs, path } = await nodeModules('writeExported', 'Keep the files that exportOnnx gives');
  if ((await fs.lstat(target).catch(() => undefined)) !== undefined) {
    throw new TopKError('INVALID_OPTION', `writeExported: ${target} is there already`, {
      expected: 'a path of nothing',
      fix: 'Name another folder, or remove this one first',
    });
  }
  const temporary = `${path.resolve(target)}.${Math.random().toString(36).slice(2)}.tmp`;
  try {
    for (const [name, content] of Object.entries(all)) {
      const file = path.join(temporary, ...name.split('/'));
      await fs.mkdir(path.dirname(file), { recursive: true });
      // Without flushing, a crash may leave an empty file under the new name.
      const given = content instanceof Uint8Array ? content : content.parts();
      await fs.writeFile(file, given, { flag: 'wx', flush: true });
    }
    await fs.rename(temporary, target);
  } catch (cause) {
    await fs.rm(temporary, { recursive: true, force: true }).catch(() => {});
    // A weight that cannot be read.
    if (cause instanceof TopKError) throw cause;
    throw new TopKError('FILE_NOT_FOUND', `writeExported: ${target} cannot be written`, {
      got: cause instanceof Error ? cause.message : String(cause),
      fix: 'Choose a folder in one that you may write to, on a disk with room',
      cause,
    });
  }
  return Object.fromEntries(Object.entries(all).map(([name, { byteLength }]) => [name, byteLength]));
}

/** @throws TopKError INVALID_OPTION */
function checkFiles(files: unknown): void {
  const entries = typeof files === 'object' && files !== null ? Object.entries(files) : [];
  const isInside = (name: string): boolean =>
    !/[\\:]/.test(name) && name.split('/').every((part) => part !== '' && part !== '.' && part !== '..');
  const isFile = (content: unknown): boolean =>
    content instanceof Uint8Array || typeof (content as Partial<ExportedFile> | null)?.parts === 'function';
  const wrong = entries.find(([name, content]) => !isInside(name) || !isFile(content));
  if (entries.length > 0 && wrong === undefined) return;
  throw new TopKError('INVALID_OPTION', 'writeExported: bad files', {
    expected: 'files by paths within the folder, as exportOnnx gives them',
    got: wrong === undefined ? describeValue(files) : `${wrong[0]}: ${describeValue(wrong[1])}`,
  });
}

async function companionsOf(checkpoint: string): Promise<FilesByPath> {
  const { fs, path } = await nodeModules();
  const found: { [name: string]: Uint8Array } = {};
  for (const name of [...NEEDED, ...COMPANIONS]) {
    try {
      found[name] = await fs.readFile(path.join(checkpoint, name));
    } catch (cause) {
      const isMissing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
      if (isMissing && !NEEDED.includes(name)) continue;
      throw new TopKError('FILE_NOT_FOUND', `writeExported: no ${name} in ${checkpoint}`, {
        expected: 'the Hugging Face folder of the model',
        got: cause instanceof Error ? cause.message : String(cause),
        fix: 'Name the folder that the model was loaded from',
        cause,
      });
    }
  }
  return found;
}
