import { TopKError } from '@topk-attention/core';
import type { ByteSource } from './byte-source.js';
import type { FileSource } from './file-source.js';
import { isWithheld } from './withheld.js';

/** The bytes of a file that must exist. `fix` is the error's advice. @throws TopKError FILE_NOT_FOUND */
export async function openNeeded(source: FileSource, file: string, fix: string): Promise<ByteSource> {
  const opened = await source.open(file);
  if (opened) return opened;
  throw new TopKError('FILE_NOT_FOUND', `${source.name}: no ${file}`, {
    expected: file,
    got: 'nothing',
    fix,
  });
}

/** The bytes of a file, or undefined if it does not exist or a server's refusal may mean that it does not. */
export async function openOptional(source: FileSource, file: string): Promise<ByteSource | undefined> {
  try {
    return (await source.open(file)) ?? undefined;
  } catch (error) {
    if (isWithheld(error)) return undefined;
    throw error;
  }
}

/** A text file that must exist. @throws TopKError FILE_NOT_FOUND, FILE_CORRUPT when it is not UTF-8. */
export async function readText(source: FileSource, file: string, fix: string): Promise<string> {
  return textOf(source, file, await openNeeded(source, file, fix));
}

/** A text file, or undefined when it does not exist. @throws TopKError FILE_CORRUPT when it is not UTF-8. */
export async function readOptionalText(source: FileSource, file: string): Promise<string | undefined> {
  const opened = await openOptional(source, file);
  return opened === undefined ? undefined : textOf(source, file, opened);
}

/** Reads and closes the opened file. */
async function textOf(source: FileSource, file: string, opened: ByteSource): Promise<string> {
  try {
    const bytes = await opened.read(0, opened.size);
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    if (cause instanceof TopKError) throw cause;
    throw new TopKError('FILE_CORRUPT', `${source.name}: ${file} is not text`, {
      expected: 'UTF-8',
      fix: 'Download the file again',
      cause,
    });
  } finally {
    await opened.close();
  }
}
