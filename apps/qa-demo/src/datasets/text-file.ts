import { readFile } from 'node:fs/promises';
import { TopKError } from '@topk-attention/core';

/** A text file as UTF-8, without its byte order mark. @throws TopKError FILE_NOT_FOUND, FILE_CORRUPT. */
export async function readTextFile(path: string, what: string): Promise<string> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    const isFolder = code === 'EISDIR';
    throw new TopKError('FILE_NOT_FOUND', `${what} ${path} cannot be read`, {
      got: isFolder ? 'a folder' : code,
      fix: isFolder ? 'Name a file in it' : 'Check the path; it is taken relative to the current folder',
      cause: error,
    });
  }
  return decodeText(bytes, `${what} ${path}`);
}

/** Bytes as UTF-8. @throws TopKError FILE_CORRUPT where they are not. */
export function decodeText(bytes: Uint8Array, what: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw new TopKError('FILE_CORRUPT', `${what} is not text`, {
      expected: 'UTF-8',
      got: 'bytes that are not UTF-8',
      fix: 'Convert it first, for example with iconv -t utf-8',
      cause: error,
    });
  }
}

/** The error of a line that does not hold what it should. */
export function badLine(path: string, line: number, expected: string, got: string): TopKError {
  return new TopKError('FILE_CORRUPT', `${path}:${line}: bad line`, {
    expected,
    got: got.length > 80 ? `${got.slice(0, 80)}…` : got,
    fix: 'Correct or remove the line, and check --format',
  });
}

/** The lines of a text with their numbers from 1, without blank ones. */
export function numberedLines(text: string): { readonly line: number; readonly content: string }[] {
  return text
    .split(/\r?\n/)
    .map((content, index) => ({ line: index + 1, content }))
    .filter(({ content }) => content.trim() !== '');
}
