import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import {
  bytesSource,
  type FileSource,
  openNeeded,
  openOptional,
  readOptionalText,
  readText,
  toFileSource,
} from '../../src/index.js';
import { errorOf, temporaryFolder } from '../support/files.js';

test('a path and a file URL are a directory', async () => {
  const folder = await temporaryFolder();
  await writeFile(join(folder, 'a.txt'), 'text');
  for (const place of [folder, pathToFileURL(folder), pathToFileURL(folder).href]) {
    const source = toFileSource('load', place);
    expect(await readText(source, 'a.txt', '')).toBe('text');
    expect(await readOptionalText(source, 'b.txt')).toBeUndefined();
    expect(await openOptional(source, 'b.txt')).toBeUndefined();
    const error = await errorOf(openNeeded(source, 'b.txt', 'Look elsewhere'));
    expect(error).toMatchObject({ code: 'FILE_NOT_FOUND', fix: 'Look elsewhere' });
  }
});

test('a source of the caller’s own is used as it is, and its files are closed', async () => {
  let open = 0;
  const own: FileSource = {
    name: 'mine',
    open: async (file) => {
      open++;
      const bytes = file === 'bad' ? Uint8Array.of(0xff) : new TextEncoder().encode(file);
      return { ...bytesSource(bytes), close: async () => void open-- };
    },
  };
  expect(toFileSource('load', own)).toBe(own);
  expect(await readText(own, 'good', '')).toBe('good');
  expect((await errorOf(readText(own, 'bad', ''))).code).toBe('FILE_CORRUPT');
  expect(open).toBe(0);
});

test.each<unknown>(['ftp://example.org/a', 'https://a:b@example.org/', '', undefined, 7, {}])(
  '%o is refused in the name of the caller',
  (place) => {
    const call = () => toFileSource('loadIt', place as string);
    expect(call).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
    expect(call).toThrow(/^loadIt: /);
  },
);
