import { existsSync, readFileSync } from 'node:fs';
import { isObject } from '@topk-attention/app-kit';
import { corrupt, missing } from '../data/errors.js';

/** The paper's four studies of time and memory. */
export type StudyName = 'attention' | 'feed-forward' | 'model' | 'query-chunk';
export const studyNames: readonly StudyName[] = ['attention', 'feed-forward', 'model', 'query-chunk'];

/** How a layer is computed: exact with all scores at once, exact in chunks, top-k, Performer. */
export type WayName = 'whole' | 'exact' | 'top-k' | 'performer';
export const wayNames: readonly WayName[] = ['whole', 'exact', 'top-k', 'performer'];

export type Direction = 'forward' | 'forward + backward';

/** One measurement. */
export interface BenchRow {
  /** A `WayName` in the paper's studies, a mechanism's title in a comparison of mechanisms. */
  readonly way: string;
  /** Length, hidden units or queries per chunk: what the study varies. */
  readonly x: number;
  readonly direction: Direction;
  /** Median of the rounds. Absent: it did not run. */
  readonly milliseconds?: number;
  /** Most bytes of tensors at a time, inputs included, if the engine counts them. */
  readonly peakBytes?: number;
  /** Whether recorded commands ran, as in training; else the pass was called, its JavaScript included. */
  readonly isRecorded?: boolean;
  /** Why it did not run. */
  readonly refused?: string;
}

/** A study on one engine: one of the paper's, or a comparison of mechanisms by length. */
export interface BenchResult {
  readonly study: StudyName | 'mechanisms';
  readonly title: string;
  /** Sizes and rules, in words. */
  readonly about: string;
  readonly engine: string;
  readonly date: string;
  readonly command: string;
  readonly rows: readonly BenchRow[];
  /** Of a comparison: the mechanisms that refuse the task or could not be trained on it, with their reasons. */
  readonly refused?: readonly Refused[];
}

/** A mechanism that was left out, and why. */
export interface Refused {
  readonly way: string;
  readonly reason: string;
}

const FORMAT = 'topk-attention lra bench 1';

export function encodeBench(results: readonly BenchResult[]): string {
  return `${JSON.stringify({ format: FORMAT, results }, undefined, 2)}\n`;
}

/** @throws TopKError FILE_NOT_FOUND, FILE_CORRUPT */
export function readBench(path: string): readonly BenchResult[] {
  if (!existsSync(path))
    throw missing(`${path} is not there`, 'a file that bench wrote', 'Run pnpm lra bench --out');
  let read: unknown;
  try {
    read = JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    read = undefined;
  }
  if (!isObject(read) || read.format !== FORMAT || !Array.isArray(read.results))
    throw corrupt(path, `a file of '${FORMAT}'`, 'another one');
  const wrong = read.results.findIndex((one) => !isResult(one));
  if (wrong >= 0)
    throw corrupt(path, 'results as bench and compare write them', `another one, number ${wrong + 1}`);
  return read.results as BenchResult[];
}

const known: readonly unknown[] = [...studyNames, 'mechanisms'];
const directions: readonly unknown[] = ['forward', 'forward + backward'] satisfies readonly Direction[];
const texts = ['title', 'about', 'engine', 'date', 'command'] as const;

/** Whether a value has what a report reads of a result. */
function isResult(value: unknown): boolean {
  return (
    isObject(value) &&
    known.includes(value.study) &&
    texts.every((name) => typeof value[name] === 'string') &&
    Array.isArray(value.rows) &&
    value.rows.every(isRow)
  );
}

function isRow(value: unknown): boolean {
  return (
    isObject(value) &&
    typeof value.way === 'string' &&
    Number.isFinite(value.x) &&
    directions.includes(value.direction)
  );
}
