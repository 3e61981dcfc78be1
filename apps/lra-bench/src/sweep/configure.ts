import { TopKError } from '@topk-attention/core';
import { hashOf, majorityOf, type Splits } from '../data/splits.js';
import { mechanisms } from '../model/mechanism.js';
import {
  type MechanismName,
  type MechanismOption,
  type MechanismSettings,
  type ModelSettings,
  usual,
} from '../model/settings.js';
import { type Preset, type PresetName, presetOf } from '../presets/presets.js';
import type { TrainingSettings } from '../presets/training-settings.js';
import type { Configuration, DataFacts } from '../runs/configuration.js';
import type { TaskName } from '../tasks/task.js';

/** What may be changed in a preset. Absent: the preset's own. */
export interface Changes {
  readonly steps?: number;
  /** Default: the preset's, in proportion to the steps. */
  readonly warmup?: number;
  readonly batch?: number;
  readonly learningRate?: number;
  readonly evalEvery?: number;
  readonly tokens?: number;
  readonly pooling?: 'padded' | 'masked';
  readonly momentum?: TrainingSettings['momentum'];
  readonly zeroPixel?: 'masked' | 'shifted';
  readonly evaluation?: 'stream' | 'full';
  readonly lastBatch?: TrainingSettings['lastBatch'];
  readonly validation?: TrainingSettings['validation'];
}

/** One run of a sweep, before its data are read. */
export interface PlannedRun {
  readonly task: TaskName;
  readonly mechanism: MechanismSettings;
  readonly seed: number;
}

export interface Sweep {
  readonly tasks: readonly TaskName[];
  readonly mechanisms: readonly MechanismName[];
  readonly seeds: readonly number[];
  /** Keys kept by top-k and other sparse mechanisms. */
  readonly k: number;
  /** Landmarks of SOFT, vectors of Luna's memory. Default 32. */
  readonly landmarks?: number;
  /** Random features of Performer and its kin. */
  readonly features: number;
  /** Steps after which they are drawn anew. Default: never. */
  readonly redraw?: number;
}

export interface Shard {
  /** From 1 to `of`. */
  readonly index: number;
  readonly of: number;
}

/** The runs of a sweep, or of one shard of it: every `of`-th, in an order that depends on the sweep alone. */
export function plannedRuns(
  { tasks, mechanisms, seeds, ...numbers }: Sweep,
  { index, of }: Shard = { index: 1, of: 1 },
): readonly PlannedRun[] {
  const all = tasks.flatMap((task) =>
    mechanisms.flatMap((name) => seeds.map((seed) => ({ task, seed, mechanism: settingsOf(name, numbers) }))),
  );
  return all.filter((_, at) => at % of === index - 1);
}

function settingsOf(
  name: MechanismName,
  { k, features, landmarks = usual.landmarks, redraw }: Pick<Sweep, MechanismOption>,
): MechanismSettings {
  const { options } = mechanisms[name];
  return {
    name,
    ...(options.includes('k') && { k }),
    ...(options.includes('features') && { features }),
    ...(options.includes('landmarks') && { landmarks }),
    ...(options.includes('redraw') && redraw !== undefined && { redraw }),
  };
}

/**
 * A preset with changes.
 *
 * @throws TopKError INVALID_OPTION for changes that do not fit it
 */
export function changedPreset(name: PresetName, task: TaskName, changes: Changes): Preset {
  const { model, training } = presetOf(name, task);
  const { tokens = model.tokens, zeroPixel, pooling, steps = training.steps } = changes;
  if (tokens > model.tokens) throw refusal('tokens', `at most ${model.tokens} for ${task}`, tokens);
  if (tokens < model.tokens && model.zeroPixel !== 'none')
    throw refusal('tokens', `all ${model.tokens} pixels of a picture`, tokens);
  if (zeroPixel !== undefined && model.zeroPixel === 'none')
    throw refusal('zero-pixel', `a task of pixels`, task);
  // The schedule goes from a first step to a last one.
  if (steps < 2) throw refusal('steps', 'at least 2', steps);
  const warmup = changes.warmup ?? Math.max(1, Math.round((training.warmup * steps) / training.steps));
  if (training.schedule !== 'rsqrt' && warmup > steps)
    throw refusal('warmup', `at most ${steps} steps`, warmup);
  const padded = tokens === model.tokens ? model.paddedTokens : paddedTo(tokens);
  return {
    model: {
      ...model,
      tokens,
      paddedTokens: padded,
      positionRows: model.positionRows - model.paddedTokens + padded,
      ...(pooling && { pooling }),
      ...(zeroPixel && { zeroPixel, ...rowsFor(model, zeroPixel) }),
    },
    training: {
      ...training,
      steps,
      warmup,
      batch: changes.batch ?? training.batch,
      learningRate: changes.learningRate ?? training.learningRate,
      evalEvery: Math.min(steps, changes.evalEvery ?? training.evalEvery),
      momentum: changes.momentum ?? training.momentum,
      lastBatch: changes.lastBatch ?? training.lastBatch,
      validation: changes.validation ?? training.validation,
      evaluation: evaluationOf(task, training, changes.evaluation),
    },
  };
}

/** Shifted pixels are ids 1 to 256. */
function rowsFor(
  { tokenRows }: ModelSettings,
  zeroPixel: 'masked' | 'shifted',
): { readonly tokenRows: number } {
  return { tokenRows: zeroPixel === 'shifted' ? Math.max(257, tokenRows) : tokenRows };
}

function evaluationOf(
  task: TaskName,
  { evaluation }: TrainingSettings,
  kind: 'stream' | 'full' | undefined,
): TrainingSettings['evaluation'] {
  if (kind === undefined || kind === evaluation.kind) return evaluation;
  return kind === 'full' ? { kind } : presetOf('small', task).training.evaluation;
}

/** The next power of two, as the small configuration pads. */
function paddedTo(tokens: number): number {
  return 2 ** Math.ceil(Math.log2(tokens));
}

function refusal(option: string, expected: string, got: unknown): TopKError {
  return new TopKError('INVALID_OPTION', `--${option} does not fit`, { expected, got: String(got) });
}

function dataFacts(splits: Splits): DataFacts {
  const { train, validation, test, notes } = splits;
  return {
    hash: hashOf(splits),
    rows: { train: train.length, validation: validation.length, test: test.length },
    majority: majorityOf(test),
    notes,
  };
}

/** Parts of a trimmed batch, a choice: they leave 0.40 of the pairs of Text, twice as many 0.36. */
const TRIMMED_PARTS = 4;

/** Everything that decides what a run learns. @throws TopKError INVALID_OPTION */
export function configurationOf(
  { task, mechanism, seed }: PlannedRun,
  preset: { readonly name: Configuration['preset'] } & Preset,
  splits: Splits,
  {
    trim,
    microBatch = preset.training.batch /
      (trim && preset.training.batch % TRIMMED_PARTS === 0 ? TRIMMED_PARTS : 1),
    feedForwardK,
    precision,
  }: {
    readonly microBatch?: number;
    readonly trim?: true;
    readonly feedForwardK?: number;
    readonly precision?: 'f32' | 'mixed';
  } = {},
): Configuration {
  const { batch } = preset.training;
  if (batch % microBatch !== 0)
    throw refusal('micro-batch', `a number that divides the batch of ${batch}`, microBatch);
  if (splits.train.length < batch)
    throw refusal('batch', `at most the ${splits.train.length} training rows`, batch);
  return {
    task,
    preset: preset.name,
    mechanism,
    ...(feedForwardK !== undefined && { feedForwardK }),
    ...(precision === 'mixed' && { precision }),
    seed,
    model: preset.model,
    training: preset.training,
    microBatch,
    ...(trim && { trimmed: trim }),
    data: dataFacts(splits),
  };
}
