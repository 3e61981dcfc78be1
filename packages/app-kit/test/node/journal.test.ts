import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TopKError } from '@topk-attention/core';
import { expect, test } from 'vitest';
import { Journal, type JournalFormat } from '../../src/node/journal.js';
import { temporaryFolder } from '../support/temporary-folder.js';

interface Loss {
  readonly step: number;
  readonly loss: number;
}

const format: JournalFormat<Loss> = {
  isEntry: (value): value is Loss & typeof value =>
    typeof value.step === 'number' && typeof value.loss === 'number',
  expected: 'a line of JSON with step and loss',
  keyOf: ({ step }) => String(step),
};
const header = { journal: 'a test', seed: 1 };
const folder = temporaryFolder();

function open(path: string, resume = false, of: typeof header = header): Journal<Loss> {
  return Journal.open(path, of, format, resume);
}

function written(name: string): string {
  const path = join(folder, 'deep', name);
  const journal = open(path);
  for (const step of [1, 2]) journal.add({ step, loss: 1 / step });
  journal.close();
  return path;
}

function codeOf(attempt: () => unknown): string {
  try {
    attempt();
  } catch (error) {
    expect(error).toBeInstanceOf(TopKError);
    return (error as TopKError).code;
  }
  return 'none';
}

test('an entry is on disk when add returns', () => {
  const path = join(folder, 'at-once.jsonl');
  const journal = open(path);
  journal.add({ step: 1, loss: 0.5 });
  expect(readFileSync(path, 'utf8')).toBe('{"journal":"a test","seed":1}\n{"step":1,"loss":0.5}\n');
  journal.close();
});

test('goes on after a line that was cut short, which is lost alone', () => {
  const path = written('cut.jsonl');
  const before = readFileSync(path, 'utf8');
  appendFileSync(path, '{"step":3,"lo');
  const journal = open(path, true);
  expect(journal.find('2')).toEqual({ step: 2, loss: 0.5 });
  expect(journal.find('3')).toBeUndefined();
  journal.add({ step: 3, loss: 0.25 });
  journal.close();
  expect(readFileSync(path, 'utf8')).toBe(`${before}{"step":3,"loss":0.25}\n`);
});

test('a header that was cut short is no journal yet', () => {
  const path = join(folder, 'short.jsonl');
  writeFileSync(path, '{"journal":"a t');
  open(path, true).close();
  expect(readFileSync(path, 'utf8')).toBe('{"journal":"a test","seed":1}\n');
});

test('without resume a file that is there is not touched', () => {
  const path = written('there.jsonl');
  const before = readFileSync(path, 'utf8');
  expect(codeOf(() => open(path))).toBe('INVALID_OPTION');
  expect(readFileSync(path, 'utf8')).toBe(before);
});

test('results of another run, broken lines and paths that cannot be written are refused', () => {
  expect(() => open(written('other.jsonl'), true, { ...header, seed: 2 })).toThrow(/seed differs/);
  for (const line of ['{"step":3}', 'no JSON', '[]']) {
    const path = written(`broken-${line.length}.jsonl`);
    appendFileSync(path, `${line}\n`);
    expect(() => open(path, true)).toThrow(/:4: broken journal: expected a line of JSON with step and loss/);
  }
  const file = join(folder, 'file');
  writeFileSync(file, '');
  expect(codeOf(() => open(join(file, 'below.jsonl')))).toBe('FILE_NOT_FOUND');
  expect(existsSync(join(folder, 'below.jsonl'))).toBe(false);
});

test('is read without being opened: the later of two entries counts, half a line is left alone', () => {
  const path = written('read.jsonl');
  appendFileSync(path, '{"step":1,"loss":0.125}\n{"step":3,"lo');
  const before = readFileSync(path, 'utf8');
  expect(Journal.read(path, format)).toEqual([
    { step: 1, loss: 0.125 },
    { step: 2, loss: 0.5 },
  ]);
  expect(readFileSync(path, 'utf8')).toBe(before);
  appendFileSync(path, '\n');
  expect(codeOf(() => Journal.read(path, format))).toBe('FILE_CORRUPT');
});
