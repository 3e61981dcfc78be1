import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TopKError } from '@topk-attention/core';
import { expect, test } from 'vitest';
import { requireWritable, writeFileAtomically } from '../../src/node/write-file.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const folder = temporaryFolder();

test('writes the file with its folder, over one that is there, and leaves nothing else', () => {
  const path = join(folder, 'new', 'deep', 'a.json');
  for (const text of ['first', 'second']) {
    writeFileAtomically(path, text);
    expect(readFileSync(path, 'utf8')).toBe(text);
  }
  expect(readdirSync(join(folder, 'new', 'deep'))).toEqual(['a.json']);
});

test('a folder of that name is refused, before and while writing', () => {
  const path = join(folder, 'taken');
  mkdirSync(path);
  for (const attempt of [() => requireWritable(path), () => writeFileAtomically(path, 'x')])
    expect(attempt).toThrow(TopKError);
  expect(readdirSync(folder).filter((name) => name.startsWith('taken'))).toEqual(['taken']);
  requireWritable(join(folder, 'free'));
});

test('a file in the place of a folder is refused, before and while writing', () => {
  const file = join(folder, 'file');
  writeFileSync(file, 'kept');
  for (const path of [join(file, 'a.json'), join(file, 'deep', 'a.json')])
    for (const attempt of [() => requireWritable(path), () => writeFileAtomically(path, 'x')])
      expect(attempt).toThrow(expect.objectContaining({ code: 'FILE_NOT_FOUND' }));
  expect(readFileSync(file, 'utf8')).toBe('kept');
});
