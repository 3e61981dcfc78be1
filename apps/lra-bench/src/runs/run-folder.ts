import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isObject } from '@topk-attention/app-kit';
import { TopKError } from '@topk-attention/core';
import { corrupt, missing } from '../data/errors.js';
import { writeBytes } from '../data/write.js';
import type { Configuration } from './configuration.js';

const FORMAT = 'topk-attention lra run';
const VERSION = 1;

/** Names within a run folder. */
export const runFiles: {
  readonly [name in 'config' | 'environment' | 'metrics' | 'result' | 'best' | 'checkpoints']: string;
} = {
  config: 'config.json',
  environment: 'environment.json',
  metrics: 'metrics.jsonl',
  result: 'result.json',
  best: 'best.safetensors',
  checkpoints: 'checkpoints',
};

/** One process that worked on a run. */
export interface Session {
  readonly date: string;
  readonly command: string;
  /** Steps made before it. */
  readonly from: number;
  readonly engine: string;
  readonly node: string;
  readonly system: string;
  readonly version: string;
  /** Its most bytes at a time, once it has ended, unless it was killed. */
  readonly peakBytes?: number;
  readonly peakOf?: 'device' | 'process';
}

/** What a finished run ends with. */
export interface RunResult {
  readonly steps: number;
  readonly bestStep: number;
  /** Accuracy in per cent on the validation rows, at its best. */
  readonly validation: number;
  /** Accuracy in per cent and loss on the test rows, of the checkpoint that was best on the validation rows. */
  readonly test: number;
  readonly testLoss: number;
  readonly testExamples: number;
  /** Median over the log entries of all sessions, in milliseconds. */
  readonly stepMs: number;
  /** Most bytes at a time, of sessions that were not killed: on the GPU where the engine counts them, else of the process. */
  readonly peakBytes: number;
  readonly peakOf: 'device' | 'process';
}

export function readConfiguration(folder: string): Configuration | undefined {
  const stored = readStored(folder, runFiles.config, FORMAT, VERSION);
  if (stored === undefined) return undefined;
  const { configuration } = stored;
  if (
    !isObject(configuration) ||
    !['task', 'mechanism', 'model', 'training', 'data'].every((key) => key in configuration)
  )
    throw corrupt(join(folder, runFiles.config), 'the configuration of a run', 'parts of one');
  return configuration as typeof configuration & Configuration;
}

/** What a file of a run's folder holds, unless there is none. @throws TopKError FILE_CORRUPT, UNSUPPORTED */
export function readStored(
  folder: string,
  name: string,
  format: string,
  version: number,
): { readonly [key: string]: unknown } | undefined {
  const path = join(folder, name);
  if (!existsSync(path)) return undefined;
  const read = readJson(path);
  if (read.format !== format) throw corrupt(path, `a file of '${format}'`, 'another one');
  if (read.version !== version) {
    throw new TopKError('UNSUPPORTED', `${folder} is a run of another version`, {
      expected: `version ${version}`,
      got: `version ${read.version}`,
      fix: 'Use the version of this program that began it, or begin a new run with another --out',
    });
  }
  return read;
}

/** The same, for a folder that must be a run. */
export function requireConfiguration(folder: string): Configuration {
  const found = readConfiguration(folder);
  if (found !== undefined) return found;
  throw missing(
    `${folder} is no run`,
    `${runFiles.config} in it`,
    'Name the folder of a run of pnpm lra train',
  );
}

export function writeConfiguration(folder: string, configuration: Configuration): void {
  writeJson(join(folder, runFiles.config), { format: FORMAT, version: VERSION, configuration });
}

export function readSessions(folder: string): readonly Session[] {
  const path = join(folder, runFiles.environment);
  if (!existsSync(path)) return [];
  const { sessions } = readJson(path);
  if (!Array.isArray(sessions)) throw corrupt(path, 'a list of sessions', 'none');
  return sessions as Session[];
}

export function addSession(folder: string, session: Session): void {
  writeJson(join(folder, runFiles.environment), { sessions: [...readSessions(folder), session] });
}

export function readResult(folder: string): RunResult | undefined {
  const path = join(folder, runFiles.result);
  if (!existsSync(path)) return undefined;
  const read = readJson(path);
  if (typeof read.test !== 'number' || typeof read.steps !== 'number')
    throw corrupt(path, 'the result of a run', 'parts of one');
  return read as typeof read & RunResult;
}

export function writeJson(path: string, value: object): void {
  writeBytes(path, [Buffer.from(`${JSON.stringify(value, undefined, 2)}\n`)]);
}

function readJson(path: string): { readonly [key: string]: unknown } {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    throw corrupt(path, 'an object of JSON', cause instanceof Error ? cause.message : String(cause), cause);
  }
  if (!isObject(value)) throw corrupt(path, 'an object of JSON', 'something else');
  return value;
}
