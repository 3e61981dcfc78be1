import { createHash } from 'node:crypto';
import { TopKError } from '@topk-attention/core';
import type { MechanismSettings, ModelSettings } from '../model/settings.js';
import type { PresetName } from '../presets/presets.js';
import type { TrainingSettings } from '../presets/training-settings.js';
import type { TaskName } from '../tasks/task.js';

/** Everything that decides what a run learns. Plain data, stored as `config.json`. */
export interface Configuration {
  readonly task: TaskName;
  /** Where the settings began; switches may have changed some. */
  readonly preset: PresetName | 'quick';
  readonly mechanism: MechanismSettings;
  /** Hidden units that each token keeps; absent: all. */
  readonly feedForwardK?: number;
  /** 'mixed': the steps compute in f16 where that is safe, with f32 weights. Absent: f32. */
  readonly precision?: 'mixed';
  /** Of the first values, the order of the data, dropout and redrawn features. */
  readonly seed: number;
  readonly model: ModelSettings;
  readonly training: TrainingSettings;
  /** Examples whose gradients are computed at a time; their sum is the batch's. */
  readonly microBatch: number;
  /** Parts of documents of similar length, without the padding that they do not need. Absent: padded to all tokens. */
  readonly trimmed?: true;
  readonly data: DataFacts;
}

/** The rows that a run uses. */
export interface DataFacts {
  readonly hash: string;
  readonly rows: { readonly train: number; readonly validation: number; readonly test: number };
  /** Accuracy of always answering the commonest class of the test rows, in per cent. */
  readonly majority: number;
  readonly notes: readonly string[];
}

/** What must be equal for two runs to stand in one table: all but mechanism, precision, seed and how a batch is cut. */
export function comparedPart({ task, preset, model, training, data }: Configuration): object {
  return { task, preset, model, training, data: { hash: data.hash, rows: data.rows } };
}

/** A short name of what `comparedPart` gives. */
export function comparedHash(configuration: Configuration): string {
  return shortHash(comparedPart(configuration));
}

/** A short name of plain data. */
export function shortHash(value: object): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 8);
}

/** The folder of a run among others: readable, and different for different runs of one sweep. */
export function runName(configuration: Configuration): string {
  const { task, preset, mechanism, feedForwardK, precision, trimmed, seed } = configuration;
  const units = feedForwardK === undefined ? '' : `-ff-${feedForwardK}`;
  const halves = precision === undefined ? '' : `-${precision}`;
  const cut = trimmed === true ? '-trimmed' : '';
  return `${task}-${preset}-${mechanismSuffix(mechanism)}${units}${halves}${cut}-seed-${seed}`;
}

/** A mechanism in the name of a folder: `top-k-128`, `performer-redraw-1000`. */
export function mechanismSuffix({ name, k, redraw }: MechanismSettings): string {
  if (redraw !== undefined) return `${name}-redraw-${redraw}`;
  return k === undefined ? name : `${name}-${k}`;
}

/** The first difference of two plain values, as `training.steps: 5000 and 20000`; undefined if they are equal. */
export function difference(a: unknown, b: unknown, path = ''): string | undefined {
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) {
    return Object.is(a, b) ? undefined : `${path}: ${JSON.stringify(a)} and ${JSON.stringify(b)}`;
  }
  const [one, other] = [a, b] as readonly [{ [key: string]: unknown }, { [key: string]: unknown }];
  for (const key of new Set([...Object.keys(one), ...Object.keys(other)])) {
    const found = difference(one[key], other[key], path === '' ? key : `${path}.${key}`);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** @throws TopKError INVALID_OPTION with the first difference, unless two configurations are equal. */
export function requireSame(stored: object, wanted: object, folder: string): void {
  const found = difference(stored, wanted);
  if (found === undefined) return;
  throw new TopKError('INVALID_OPTION', `${folder} holds another run`, {
    expected: 'the options, data and version that it was begun with',
    got: `a difference in ${found}`,
    fix: 'Resume with the same options, or choose another --out',
  });
}
