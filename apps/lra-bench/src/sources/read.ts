import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { TopKError } from '@topk-attention/core';
import { corrupt, missing } from '../data/errors.js';
import { plainOrGzip } from '../data/lines.js';
import { packedName, readRows } from '../data/packed.js';
import { type Rows, reordered } from '../data/rows.js';
import { type SplitName, type Splits, splitNames } from '../data/splits.js';
import { cifarFolder, readCifarBinary } from '../images/cifar-binary.js';
import { readImageFolders } from '../images/folders.js';
import { listOpsFile, readListOps } from '../listops/read.js';
import { readPathfinderFolder } from '../pathfinder/read.js';
import { type TaskName, tasks } from '../tasks/task.js';
import { readPairs } from '../text/pairs.js';
import { readReviews } from '../text/read.js';

/** Which rows choose the best checkpoint, for tasks that come without a split of their own for it. */
export type Validation = 'test' | 'held-out';

export interface ReadOptions {
  /** Only Text asks: its published validation rows are the test rows. Default 'test'. */
  readonly validation?: Validation;
  readonly onProgress?: (done: number, total: number | undefined, label: string) => void;
  readonly signal?: AbortSignal;
}

/** Share of the training rows that is held out. */
const HELD_OUT = 0.1;

/**
 * Reads the rows of a task from a folder: packed files, or the published form.
 *
 * @throws TopKError FILE_NOT_FOUND, FILE_TRUNCATED, FILE_CORRUPT, MISSING_PEER; the signal's reason
 */
export async function readTask(task: TaskName, folder: string, options: ReadOptions = {}): Promise<Splits> {
  if (!existsSync(folder))
    throw missing(`${folder} is not there`, tasks[task].data, 'Name a folder with --data');
  const packed = splitNames.map((split) => plainOrGzip(join(folder, packedName(task, split))));
  const splits = packed.some((path) => path !== undefined)
    ? await readPacked(task, packed, options.validation ?? 'test')
    : await readPublished(task, folder, options);
  for (const split of splitNames) requireRows(task, folder, split, splits[split]);
  return splits;
}

async function readPacked(
  task: TaskName,
  paths: readonly (string | undefined)[],
  validation: Validation,
): Promise<Splits> {
  const read: { [split: string]: Rows } = {};
  const notes = new Set<string>();
  for (const [at, split] of splitNames.entries()) {
    const path = paths[at];
    if (path === undefined)
      throw missing(
        `${packedName(task, split)} is not there`,
        'one file per split',
        'Generate the rows again',
      );
    const { rows, header } = await readRows(path);
    if (header.task !== task || header.split !== split)
      throw corrupt(path, `${split} rows of ${task}`, `${header.split} rows of ${header.task}`);
    // The split was made when the rows were packed.
    if (task === 'text' && header.about.validation !== validation) {
      throw new TopKError('INVALID_OPTION', `${path} was packed with other validation rows`, {
        expected: validation,
        got: String(header.about.validation),
        fix: 'Pack the rows again, with or without --held-out, or change --validation',
      });
    }
    for (const note of Array.isArray(header.about.notes) ? header.about.notes : []) notes.add(String(note));
    read[split] = rows;
  }
  return { ...(read as { [split in SplitName]: Rows }), notes: [...notes] };
}

async function readPublished(
  task: TaskName,
  folder: string,
  { validation = 'test', onProgress, signal }: ReadOptions,
): Promise<Splits> {
  const at = (label: string) => (done: number, total?: number) => {
    if (done % 64 !== 0) return;
    signal?.throwIfAborted();
    onProgress?.(done, total, label);
  };
  if (task === 'listops') return readListOpsFolder(folder, at);
  if (task === 'text') {
    const [all, test] = [await readReviews(folder, 'train'), await readReviews(folder, 'test')];
    if (validation === 'test')
      return {
        train: all,
        validation: test,
        test,
        notes: ['validation rows are the test rows, as published'],
      };
    const { train, held } = heldOut(all);
    return {
      train,
      validation: held,
      test,
      notes: ['a tenth of the training rows is held out for validation'],
    };
  }
  if (task === 'retrieval') {
    const [train, dev, test] = [
      await readPairs(folder, 'train'),
      await readPairs(folder, 'validation'),
      await readPairs(folder, 'test'),
    ];
    return { train, validation: dev, test, notes: [] };
  }
  if (task === 'image') {
    const binary = cifarFolder(folder);
    const read = (split: 'train' | 'test'): Promise<Rows> =>
      binary === undefined
        ? readImageFolders(folder, split, at(`${split} pictures`))
        : readCifarBinary(binary, split);
    const [all, test] = [await read('train'), await read('test')];
    const cut = Math.floor(all.length * (1 - HELD_OUT));
    const notes =
      binary === undefined ? ['pictures from files: JPEG copies are not the original pixels'] : [];
    return { train: all.slice(0, cut), validation: all.slice(cut, all.length), test, notes };
  }
  const all = await readPathfinderFolder(task, folder, at('pictures'));
  const [first, second] = [Math.floor(0.8 * all.length), Math.floor(0.9 * all.length)];
  return {
    train: all.slice(0, first),
    validation: all.slice(first, second),
    test: all.slice(second, all.length),
    notes: ['80, 10 and 10 % of the pictures in the order of their files'],
  };
}

async function readListOpsFolder(
  folder: string,
  at: (label: string) => (done: number) => void,
): Promise<Splits> {
  const file = (split: SplitName): string | undefined => listOpsFile(folder, split);
  const [train, dev, test] = splitNames.map(file);
  if (train === undefined || dev === undefined)
    throw missing(
      `ListOps is not in ${folder}`,
      tasks.listops.data,
      'Generate it there, or name another folder',
    );
  const read = (path: string, split: SplitName): Promise<Rows> => readListOps(path, at(`${split} rows`));
  const [trained, validated] = [await read(train, 'train'), await read(dev, 'validation')];
  if (test !== undefined)
    return { train: trained, validation: validated, test: await read(test, 'test'), notes: [] };
  return {
    train: trained,
    validation: validated,
    test: validated,
    notes: ['no file of test rows: they are the validation rows'],
  };
}

/** Every tenth row is held out: the files are ordered by class. */
function heldOut(all: Rows): { readonly train: Rows; readonly held: Rows } {
  const every = Math.round(1 / HELD_OUT);
  const rows = Array.from({ length: all.length }, (_, row) => row);
  return {
    train: reordered(
      all,
      rows.filter((row) => row % every !== 0),
    ),
    held: reordered(
      all,
      rows.filter((row) => row % every === 0),
    ),
  };
}

/** Packed rows may come from anywhere, and no engine says that an id lies outside of the table of tokens. */
function requireRows(task: TaskName, folder: string, split: SplitName, rows: Rows): void {
  const { length, labels, parts, starts, symbols } = rows;
  if (length === 0) throw corrupt(folder, `rows of ${task} in every split`, 'a split without rows');
  const { classes, side, parts: documents, symbols: most } = tasks[task];
  const where = (row: number): string => `${folder}, ${split} row ${row + 1}`;
  const label = labels.findIndex((one) => one >= classes);
  if (label >= 0) throw corrupt(where(label), `a label from 0 to ${classes - 1}`, String(labels[label]));
  if (parts !== documents)
    throw corrupt(folder, `rows with as many documents as ${task} has, ${documents}`, String(parts));
  for (let at = 0; at < length * parts; at++) {
    const size = (starts[at + 1] as number) - (starts[at] as number);
    if (side === undefined ? size > 0 : size === side ** 2) continue;
    const expected = side === undefined ? 'at least one symbol' : `${side} x ${side} pixels`;
    throw corrupt(where(Math.floor(at / parts)), expected, String(size));
  }
  // Elsewhere every byte is a symbol.
  if (task !== 'listops') return;
  const wrong = symbols.findIndex((one) => one < 1 || one > most);
  if (wrong < 0) return;
  const row = starts.findIndex((start) => start > wrong) - 1;
  throw corrupt(where(row), `ids from 1 to ${most}`, String(symbols[wrong]));
}
