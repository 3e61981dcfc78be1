import {
  closeSync,
  existsSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { TopKError } from '@topk-attention/core';
import { isObject } from '../datasets/json-value.js';
import { cannotWrite } from '../output/write-file.js';

/** What the results in a journal are results of. All of it must be the same for a run to be continued. */
export interface JournalHeader {
  readonly journal: 'topk-attention qa eval';
  readonly version: 1;
  /** SHA-256 of the dataset. */
  readonly dataset: string;
  /** SHA-256 of the model's files. */
  readonly model: string;
  readonly backend: string;
  readonly maxNewTokens: number;
}

/** The answer to one question by one variant. */
export interface JournalEntry {
  readonly id: string;
  /** The variant's name, such as `exact` or `k=16 ff=128`. */
  readonly variant: string;
  readonly prediction: string;
  readonly exactMatch: number;
  readonly f1: number;
  readonly milliseconds: number;
  readonly promptTokens: number;
}

/**
 * Results as lines of JSON, one a question, each on disk before the next question starts. A process killed in the
 * middle of a line loses that line alone: it is cut off when the journal is opened again.
 */
export class Journal {
  readonly #path: string;
  readonly #file: number;
  #length = 0;
  readonly #entries = new Map<string, JournalEntry>();

  private constructor(path: string, file: number) {
    this.#path = path;
    this.#file = file;
  }

  /**
   * A new journal, or, with `resume`, one that goes on.
   *
   * @throws TopKError INVALID_OPTION when the file is there and `resume` is not set, or holds results of something else;
   * FILE_CORRUPT for a broken line that is not the last.
   */
  static open(path: string, header: JournalHeader, resume: boolean): Journal {
    const exists = existsSync(path);
    if (exists && !resume) {
      throw new TopKError('INVALID_OPTION', `${path} is already there`, {
        fix: 'Add --resume to go on where it stopped, remove it, or choose another --out',
      });
    }
    const { entries, length } = exists ? readJournal(path, header) : { entries: [], length: 0 };
    const journal = new Journal(path, openJournal(path, exists));
    ftruncateSync(journal.#file, length);
    for (const entry of entries) journal.#entries.set(keyOf(entry), entry);
    if (length === 0) journal.#append(header, 0);
    else journal.#length = length;
    return journal;
  }

  /** The entry of a question and variant, if it was answered before. */
  find(id: string, variant: string): JournalEntry | undefined {
    return this.#entries.get(keyOf({ id, variant }));
  }

  /** Returns when the entry is on disk. */
  add(entry: JournalEntry): void {
    this.#append(entry, this.#length);
    this.#entries.set(keyOf(entry), entry);
  }

  close(): void {
    closeSync(this.#file);
  }

  #append(value: JournalHeader | JournalEntry, at: number): void {
    const line = Buffer.from(`${JSON.stringify(value)}\n`);
    try {
      for (let done = 0; done < line.length; )
        done += writeSync(this.#file, line, done, line.length - done, at + done);
      fsyncSync(this.#file);
    } catch (error) {
      throw cannotWrite(this.#path, error);
    }
    this.#length = at + line.length;
  }
}

function openJournal(path: string, exists: boolean): number {
  try {
    mkdirSync(dirname(path), { recursive: true });
    return openSync(path, exists ? 'r+' : 'wx');
  } catch (error) {
    throw cannotWrite(path, error);
  }
}

function keyOf({ id, variant }: { readonly id: string; readonly variant: string }): string {
  return JSON.stringify([id, variant]);
}

/** The entries of a journal, and the bytes up to the end of its last whole line. */
function readJournal(path: string, header: JournalHeader): { entries: JournalEntry[]; length: number } {
  const bytes = readFileSync(path);
  const length = bytes.lastIndexOf(0x0a) + 1;
  const lines = bytes.subarray(0, length).toString('utf8').split('\n').slice(0, -1);
  const values = lines.map((line, index) => parseLine(path, index + 1, line));
  const [first, ...rest] = values;
  // Killed before the header was whole: nothing is lost.
  if (first === undefined) return { entries: [], length: 0 };
  for (const [name, value] of Object.entries(header)) {
    if (first[name] === value) continue;
    throw new TopKError('INVALID_OPTION', `${path} holds results of another run: ${name} differs`, {
      expected: String(value),
      got: String(first[name]),
      fix: 'Remove it, or choose another --out',
    });
  }
  return { entries: rest.map((value, index) => entryOf(path, index + 2, value)), length };
}

function parseLine(path: string, line: number, text: string): { readonly [key: string]: unknown } {
  try {
    const value: unknown = JSON.parse(text);
    if (isObject(value)) return value;
  } catch {
    // Reported below, like any other wrong line.
  }
  throw broken(path, line, text.slice(0, 80));
}

function entryOf(path: string, line: number, value: { readonly [key: string]: unknown }): JournalEntry {
  const { id, variant, prediction, exactMatch, f1, milliseconds, promptTokens } = value;
  if (
    typeof id === 'string' &&
    typeof variant === 'string' &&
    typeof prediction === 'string' &&
    typeof exactMatch === 'number' &&
    typeof f1 === 'number' &&
    typeof milliseconds === 'number' &&
    typeof promptTokens === 'number'
  ) {
    return { id, variant, prediction, exactMatch, f1, milliseconds, promptTokens };
  }
  throw broken(path, line, JSON.stringify(value).slice(0, 80));
}

function broken(path: string, line: number, got: string): TopKError {
  return new TopKError('FILE_CORRUPT', `${path}:${line}: broken journal`, {
    expected: 'a line of JSON with id, variant, prediction, exactMatch, f1, milliseconds and promptTokens',
    got,
    fix: 'Remove the line, or the file to start again',
  });
}
