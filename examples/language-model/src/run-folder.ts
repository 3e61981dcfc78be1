import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TopKError } from '@topk-attention/core';
import { type CheckpointStore, folderStore, type LogEntry } from '@topk-attention/nn';
import type { ModelOptions } from './model.js';
import type { TokenKind } from './tokenizer.js';

/** Everything that decides a run. */
export interface RunConfig {
  /** What loss curves call the text. */
  readonly name: string;
  readonly tokens: TokenKind;
  readonly model: ModelOptions;
  readonly training: TrainingOptions;
  readonly seed: number;
  /** Backend and device, for people. */
  readonly engine: string;
}

export interface TrainingOptions {
  readonly steps: number;
  readonly batchSize: number;
  readonly learningRate: number;
  readonly warmupSteps: number;
  readonly weightDecay: number;
  /** Steps between evaluations. */
  readonly evalSteps: number;
  /** Windows of the test text per evaluation; all of them at the end. */
  readonly evalWindows: number;
}

/** How a run ended. */
export interface RunResult {
  /** Mean loss on the whole test text, in nats per token. */
  readonly loss: number;
  readonly unit: string;
  /** The loss in this unit. */
  readonly value: number;
  readonly parameters: number;
  readonly trainTokens: number;
  readonly testTokens: number;
  readonly sample: string;
}

/** A run's folder: configuration, vocabulary, a log of JSON lines, checkpoints and, at the end, the result. */
export class RunFolder {
  readonly path: string;
  readonly checkpoints: CheckpointStore;

  constructor(path: string) {
    this.path = path;
    this.checkpoints = folderStore(join(path, 'checkpoints'));
  }

  /** @throws TopKError INVALID_OPTION if it holds another run, or any unless `isResumed`. */
  begin(config: RunConfig, vocabulary: readonly string[], isResumed = false): void {
    if (existsSync(join(this.path, 'config.json'))) this.#requireSame(config, isResumed);
    mkdirSync(this.path, { recursive: true });
    this.#write('config.json', config);
    this.#write('vocabulary.json', vocabulary);
  }

  log(entry: LogEntry): void {
    appendFileSync(join(this.path, 'metrics.jsonl'), `${JSON.stringify(entry)}\n`);
  }

  end(result: RunResult): void {
    this.#write('result.json', result);
  }

  config(): RunConfig {
    return JSON.parse(this.#read('config.json')) as RunConfig;
  }

  vocabulary(): readonly string[] {
    return JSON.parse(this.#read('vocabulary.json')) as string[];
  }

  /** By step. A resumed run logs some steps again, with the same values; the last line may be cut off. */
  metrics(): readonly LogEntry[] {
    const entries = this.#read('metrics.jsonl')
      .split('\n')
      .filter((line) => line.endsWith('}'))
      .map((line) => JSON.parse(line) as LogEntry);
    const last = new Map(entries.map((entry) => [`${entry.step} ${entry.loss === undefined}`, entry]));
    return [...last.values()].sort((a, b) => a.step - b.step);
  }

  #requireSame(config: RunConfig, isResumed: boolean): void {
    const identity = ({ name, tokens, model, seed }: RunConfig): string =>
      JSON.stringify({ name, tokens, model, seed });
    const before = identity(this.config());
    if (isResumed && before === identity(config)) return;
    throw new TopKError('INVALID_OPTION', `${this.path} holds an earlier run`, {
      expected: isResumed ? `the run ${before}` : 'a new folder',
      got: isResumed ? identity(config) : before,
      fix: 'Name another --out, or go on with the same options and --resume',
    });
  }

  #write(name: string, value: unknown): void {
    writeFileSync(join(this.path, name), `${JSON.stringify(value, undefined, 2)}\n`);
  }

  #read(name: string): string {
    try {
      return readFileSync(join(this.path, name), 'utf8');
    } catch (cause) {
      throw new TopKError('FILE_NOT_FOUND', `${this.path} is no folder of a run`, {
        expected: `${name}, as train writes it`,
        fix: 'Name a folder that was the --out of train',
        cause,
      });
    }
  }
}
