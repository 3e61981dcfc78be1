import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { isObject } from '@topk-attention/app-kit';
import { TopKError } from '@topk-attention/core';
import { corrupt, missing } from '../data/errors.js';
import { mechanismSuffix } from '../runs/configuration.js';
import { readStored, runFiles, writeJson } from '../runs/run-folder.js';
import { requireRoom } from './rows.js';
import type { NeedleConfiguration } from './settings.js';

const FORMAT = 'topk-attention lra needles';
const VERSION = 1;

/** Names within the folder of a needle run; the others are those of every run. */
export const needleFiles: { readonly [name in 'config' | 'result' | 'retrieval']: string } = {
  config: 'needles.json',
  result: 'needles-result.json',
  retrieval: 'retrieval.json',
};

/** What training ends with. */
export interface NeedleResult {
  readonly steps: number;
  /** The step that was best on the validation rows. */
  readonly bestStep: number;
  /** Mean cross-entropy per token of the value, on the validation rows, at its best. */
  readonly loss: number;
  /** Median over the log entries of all sessions, in milliseconds. */
  readonly stepMs: number;
  readonly peakBytes: number;
  readonly peakOf: 'device' | 'process';
}

/** A trained model at one length. */
export interface Retrieval {
  /** Keys that each query keeps. */
  readonly k: number | 'exact';
  /** Length of the rows. */
  readonly tokens: number;
  readonly rows: readonly RetrievedRow[];
  /** Median of a row's time, in milliseconds. */
  readonly rowMs?: number;
  /** Most bytes at a time while the rows were answered, the parameters included. */
  readonly peakBytes?: number;
  /** Why it did not run. */
  readonly refused?: string;
  readonly engine: string;
  readonly date: string;
}

export interface RetrievedRow {
  /** Of the needle: 0 at the beginning of the row, 1 right before the question. */
  readonly depth: number;
  /** Tokens of the value that the model gave. */
  readonly right: number;
}

/** Rows in per cent of which every token of the value is right. */
export function accuracyOf(rows: readonly RetrievedRow[], { task }: NeedleConfiguration): number {
  return (100 * rows.filter(({ right }) => right === task.valueTokens).length) / rows.length;
}

export function readNeedleConfiguration(folder: string): NeedleConfiguration | undefined {
  const stored = readStored(folder, needleFiles.config, FORMAT, VERSION);
  if (stored === undefined) return undefined;
  const { configuration } = stored;
  if (
    !isObject(configuration) ||
    !['task', 'mechanism', 'model', 'training'].every((key) => key in configuration)
  )
    throw corrupt(join(folder, needleFiles.config), 'the configuration of a needle run', 'parts of one');
  return configuration as typeof configuration & NeedleConfiguration;
}

/** The same, for a folder that must be a run. */
export function requireNeedleConfiguration(folder: string): NeedleConfiguration {
  const found = readNeedleConfiguration(folder);
  if (found !== undefined) return found;
  throw missing(
    `${folder} is no needle run`,
    `${needleFiles.config} in it`,
    'Name the folder of a run of pnpm lra needles train',
  );
}

/** The same, for a run that must be finished. */
export function requireNeedleRun(folder: string): NeedleConfiguration {
  const found = requireNeedleConfiguration(folder);
  if (existsSync(join(folder, runFiles.best))) return found;
  throw missing(
    `${folder} is not finished`,
    `${runFiles.best} in it`,
    'Go on with it: pnpm lra needles train ... --resume',
  );
}

export function writeNeedleConfiguration(folder: string, configuration: NeedleConfiguration): void {
  writeJson(join(folder, needleFiles.config), { format: FORMAT, version: VERSION, configuration });
}

export function readNeedleResult(folder: string): NeedleResult | undefined {
  const read = readStored(folder, needleFiles.result, FORMAT, VERSION);
  if (read === undefined) return undefined;
  if (!isObject(read.result) || typeof read.result.loss !== 'number')
    throw corrupt(join(folder, needleFiles.result), 'the result of a needle run', 'parts of one');
  return read.result as typeof read.result & NeedleResult;
}

export function writeNeedleResult(folder: string, result: NeedleResult): void {
  writeJson(join(folder, needleFiles.result), { format: FORMAT, version: VERSION, result });
}

/** What is known about a run, by k and length; exact last. */
export function readRetrievals(folder: string): readonly Retrieval[] {
  const read = readStored(folder, needleFiles.retrieval, FORMAT, VERSION);
  if (read === undefined) return [];
  if (!Array.isArray(read.retrievals))
    throw corrupt(join(folder, needleFiles.retrieval), 'a list of retrievals', 'something else');
  return read.retrievals as Retrieval[];
}

/** Adds to what is known; of two with one k and length, the later counts. */
export function addRetrieval(folder: string, fresh: Retrieval): void {
  const isOther = ({ k, tokens }: Retrieval): boolean => k !== fresh.k || tokens !== fresh.tokens;
  const order = ({ k }: Retrieval): number => (k === 'exact' ? Number.MAX_VALUE : k);
  const retrievals = [...readRetrievals(folder).filter(isOther), fresh].sort(
    (a, b) => order(a) - order(b) || a.tokens - b.tokens,
  );
  writeJson(join(folder, needleFiles.retrieval), { format: FORMAT, version: VERSION, retrievals });
}

/** The folder of a run among others: readable, and different for different runs of one sweep. */
export function needleRunName({ mechanism, seed }: NeedleConfiguration): string {
  return `needles-${mechanismSuffix(mechanism)}-seed-${seed}`;
}

/** @throws TopKError INVALID_OPTION for settings that do not fit each other */
export function requireFitting({ task, model, training }: NeedleConfiguration): void {
  const { steps, warmup, firstTokens, tokens, stepTokens } = training;
  const refuse = (option: string, expected: string, got: number): TopKError =>
    new TopKError('INVALID_OPTION', `--${option} does not fit`, { expected, got: String(got) });
  requireRoom(task, firstTokens);
  const { width, heads } = model;
  if (width % heads !== 0) throw refuse('width', `a multiple of the ${heads} heads`, width);
  if (warmup > steps) throw refuse('steps', `at least the ${warmup} of the warm-up`, steps);
  if (tokens < firstTokens) throw refuse('tokens', `at least the first ${firstTokens}`, tokens);
  if (stepTokens < tokens) throw refuse('step-tokens', `at least the ${tokens} of a row`, stepTokens);
}
