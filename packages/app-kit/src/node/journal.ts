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
import { isObject } from '../json-value.js';
import { cannotWrite } from './write-file.js';

/** What produced the results in a journal. All of it must match for a run to be continued. */
export type JournalHeader = { readonly [name: string]: string | number | boolean };

/** What the lines of a journal hold. Plain data. */
export interface JournalFormat<Entry> {
  /** Whether a line that was read is an entry. */
  readonly isEntry: (value: { readonly [name: string]: unknown }) => value is Entry & typeof value;
  /** An entry in words, for an error, such as `a line of JSON with id and loss`. */
  readonly expected: string;
  /** The key of an entry; a later entry with the same key replaces the earlier one. */
  readonly keyOf: (entry: Entry) => string;
}

/**
 * Results as lines of JSON, each on disk before the next piece of work starts. A process killed in the middle of a
 * line loses only that line: it is cut off when the journal is opened again.
 */
export class Journal<Entry> {
  readonly #path: string;
  readonly #file: number;
  readonly #keyOf: (entry: Entry) => string;
  readonly #entries = new Map<string, Entry>();
  #length = 0;

  private constructor(path: string, file: number, keyOf: (entry: Entry) => string) {
    this.#path = path;
    this.#file = file;
    this.#keyOf = keyOf;
  }

  /**
   * A new journal or, with `resume`, an existing one to continue. Errors name a command's options `--out` and
   * `--resume`.
   *
   * @throws TopKError INVALID_OPTION when the file exists and `resume` is not set, or when it holds results of
   * something else; FILE_CORRUPT for a broken line that is not the last; FILE_NOT_FOUND when it cannot be written.
   */
  static open<Entry>(
    path: string,
    header: JournalHeader,
    format: JournalFormat<Entry>,
    resume: boolean,
  ): Journal<Entry> {
    const exists = existsSync(path);
    if (exists && !resume) {
      throw new TopKError('INVALID_OPTION', `${path} already exists`, {
        fix: 'Add --resume to continue where it stopped, remove it, or choose another --out',
      });
    }
    const { entries, length } = exists ? readJournal(path, header, format) : { entries: [], length: 0 };
    const journal = new Journal(path, openFile(path, exists), format.keyOf);
    ftruncateSync(journal.#file, length);
    for (const entry of entries) journal.#entries.set(format.keyOf(entry), entry);
    if (length === 0) journal.#append(header, 0);
    else journal.#length = length;
    return journal;
  }

  /**
   * The entries of a journal, whatever made them. The file is only read: a process may be adding to it.
   *
   * @throws TopKError FILE_CORRUPT for a broken line that is not the last.
   */
  static read<Entry>(path: string, format: JournalFormat<Entry>): readonly Entry[] {
    const { entries } = readJournal(path, {}, format);
    return [...new Map(entries.map((entry) => [format.keyOf(entry), entry])).values()];
  }

  /** The entry with a key, if there is one. */
  find(key: string): Entry | undefined {
    return this.#entries.get(key);
  }

  /** Returns when the entry is on disk. @throws TopKError FILE_NOT_FOUND when it cannot be written. */
  add(entry: Entry): void {
    this.#append(entry, this.#length);
    this.#entries.set(this.#keyOf(entry), entry);
  }

  close(): void {
    closeSync(this.#file);
  }

  #append(value: JournalHeader | Entry, at: number): void {
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

function openFile(path: string, exists: boolean): number {
  try {
    mkdirSync(dirname(path), { recursive: true });
    return openSync(path, exists ? 'r+' : 'wx');
  } catch (error) {
    throw cannotWrite(path, error);
  }
}

/** The entries of a journal, and the bytes up to the end of its last whole line. */
function readJournal<Entry>(
  path: string,
  header: JournalHeader,
  { isEntry, expected }: JournalFormat<Entry>,
): { entries: Entry[]; length: number } {
  const bytes = readFileSync(path);
  const length = bytes.lastIndexOf(0x0a) + 1;
  const lines = bytes.subarray(0, length).toString('utf8').split('\n').slice(0, -1);
  const broken = (line: number): TopKError =>
    new TopKError('FILE_CORRUPT', `${path}:${line}: broken journal`, {
      expected,
      got: (lines[line - 1] ?? '').slice(0, 80),
      fix: 'Remove the line, or the file to start again',
    });
  const [first, ...rest] = lines.map((line, index) => {
    const value = parsed(line);
    if (value === undefined) throw broken(index + 1);
    return value;
  });
  // Killed before the header was complete: nothing is lost.
  if (first === undefined) return { entries: [], length: 0 };
  for (const [name, value] of Object.entries(header)) {
    if (first[name] === value) continue;
    throw new TopKError('INVALID_OPTION', `${path} holds results of another run: ${name} differs`, {
      expected: String(value),
      got: String(first[name]),
      fix: 'Remove it, or choose another --out',
    });
  }
  const entries = rest.map((value, index) => {
    if (isEntry(value)) return value;
    throw broken(index + 2);
  });
  return { entries, length };
}

function parsed(line: string): { readonly [name: string]: unknown } | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
