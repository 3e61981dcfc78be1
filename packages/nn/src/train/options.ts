import {
  aBoolean,
  aFunction,
  aNumber,
  aString,
  aValue,
  type OptionKinds,
  oneOf,
  readOptions,
  required,
  TopKError,
} from '@topk-attention/core';
import type { DataLoader } from '../data/data-loader.js';
import type { Declared } from '../declared/declaration.js';
import { trainableExcept } from '../declared/freeze.js';
import { backendOf, type ParameterTree } from '../parameters.js';
import { requirePositive, requireTensor, requireWhole, requireWithin } from '../require.js';
import type { CheckpointStore } from './checkpoint.js';
import { type Loss, MOST_MICRO_BATCHES } from './loss.js';
import { type LossScale, lossScale } from './loss-scale.js';
import type { Optimizer } from './optimizers/optimizer.js';
import type { Plateau } from './schedules/plateau.js';
import type { Schedule } from './schedules/schedule.js';

/** One line of a run's log; the names are Hugging Face's. */
export interface LogEntry {
  readonly step: number;
  /** Epochs of the data, including the fraction of the current one. */
  readonly epoch: number;
  /** Mean over the steps since the last entry. Absent in evaluation entries. */
  readonly loss?: number;
  /**
   * Learning rate of this step, if the optimiser says it: of parameters in no group, before Adafactor's scaling by
   * parameter (`scaleParameter`).
   */
  readonly learning_rate?: number;
  /** The schedule's factor of the learning rates in this step. */
  readonly rate_factor?: number;
  /** Gradient norm of this step, before clipping. */
  readonly grad_norm?: number;
  /** Mean time of a step since the last entry, without evaluations and checkpoints. */
  readonly step_ms?: number;
  /** Bytes of live tensors, if the backend counts them. */
  readonly live_bytes?: number;
  /** With mixed precision: the scale after this step. */
  readonly loss_scale?: number;
  /** With mixed precision: steps skipped so far, whose gradients were not finite. */
  readonly skipped_steps?: number;
  /** `eval_...`: what `evaluate` returned. */
  readonly [metric: `eval_${string}`]: number;
}

export interface EarlyStopping {
  /** Evaluations without a better metric after which training stops. */
  readonly patience: number;
  /** Minimum improvement that counts as better. Default 0. */
  readonly threshold?: number;
}

export interface TrainOptions<Batch, Inputs = Batch> {
  /** The initial parameters, on a backend. They stay the caller's. */
  readonly parameters: ParameterTree;
  readonly loss: Loss<NoInfer<Inputs>>;
  readonly data: DataLoader<Batch>;
  readonly optimizer: Optimizer;
  /** Optimiser steps of the whole run, including those before a resumed checkpoint. */
  readonly maxSteps: number;
  /** Default: the optimiser's own rate for the whole run. */
  readonly schedule?: Schedule;
  /**
   * Multiplies the schedule's rates by a factor that falls when the `metricForBest` of the evaluations stops improving
   * (`reduceOnPlateau`; its `mode` says what is better). Checkpoints keep its state. Default: none.
   */
  readonly plateau?: Plateau;
  /** Gradients with a larger norm are scaled down to this norm. Default: no clipping. */
  readonly maxGradNorm?: number;
  /** Batches per step, at most 1,024. Default 1. */
  readonly gradientAccumulationSteps?: number;
  /** Weight of a batch in a step's mean: if some targets are skipped, the number of the others. Default: examples. */
  readonly weightOf?: (batch: Batch) => number;
  /**
   * Turns a batch into tensors, which the loss gets instead. Tensors made here are freed after the step. Default: the
   * loss gets the batch itself, which stays the caller's.
   */
  readonly tensorsOf?: (batch: Batch) => Inputs;
  /**
   * Records a step once and replays it, if the backend can (WebGPU): the loss runs in the first two steps with batches
   * of the same shapes, and later steps have the same bits as without recording. Batches, or what `tensorsOf` returns
   * for them, must be tensors, or arrays and plain objects of them. The loss must be a function of its tensors:
   * anything else it reads keeps its value from the recording, and `step` and `seed` of its context throw. Default
   * false.
   */
  readonly recorded?: boolean;
  /** Recordings kept, one for each combination of shapes; each keeps the memory of a step. Default 4. */
  readonly mostRecordings?: number;
  /**
   * 'mixed': the loss gets f16 copies of the parameters, which stay f32, as does what the optimiser remembers. Norms,
   * softmax, `crossEntropy` and sums compute in f32. The loss is scaled (`lossScale`); a step whose gradients overflow
   * changes nothing but the scale, and does not count for the optimiser or the schedule. Needs a backend with f16 tensors
   * (WebGPU). Default 'f32'.
   */
  readonly precision?: 'f32' | 'mixed';
  /** The loss scale of mixed precision. Default `lossScale()`. */
  readonly lossScale?: LossScale;
  /**
   * Most bytes on the device: a step that takes more is refused with DOES_NOT_FIT before it is made, as `planStep` counts.
   * The loss must use no tensors besides its arguments. Neither `recorded` nor with `tensorsOf`, a run does not know the
   * shapes of its batches, and only the first step is checked. Default: no bound.
   */
  readonly budgetBytes?: number;
  /**
   * Keeps an exponential moving average of the trained parameters (PyTorch's EMA: the first step copies them), in f32:
   * average * averageDecay + parameters * (1 - averageDecay) after every step, skipped ones excepted. `evaluate` gets it
   * instead of the parameters, checkpoints hold it as `average.safetensors`, and the result has it. Usually 0.999. Default:
   * none is kept.
   */
  readonly averageDecay?: number;
  /**
   * False for the names of frozen parameters, which use no gradient memory. Buffers, such as the random features of
   * Performer, stand in `parameters` as well and are trained unless this leaves them out: `trainableExcept(model)`. Default:
   * with `redraw`, `trainableExcept` of its layer; else all are trained.
   */
  readonly trainable?: (name: string) => boolean;
  /**
   * The layer whose random features are drawn anew when due (`redraw`, with the run's seed), before the next step; a
   * recorded step is then recorded again. They stand in `parameters`, and a `trainable` that takes them is an error.
   * Default: features stay as they are.
   */
  readonly redraw?: Declared;
  /** Seed of the dropout and of `redraw`; the data loader has its own. Default 42. */
  readonly seed?: number;
  /**
   * Metrics of the parameters, or of their average (`averageDecay`), such as `{ loss, accuracy }`, logged as
   * `eval_<metric>`.
   */
  readonly evaluate?: (parameters: ParameterTree) => Promise<{ readonly [metric: string]: number }>;
  /** Steps between evaluations; there is also one at the end. Default 500. */
  readonly evalSteps?: number;
  /** The `evaluate` metric that decides which checkpoint is best. Default 'loss'. */
  readonly metricForBest?: string;
  /** Default false. */
  readonly greaterIsBetter?: boolean;
  readonly earlyStopping?: EarlyStopping;
  /** Needs f32 parameters. Default: nothing is saved. */
  readonly checkpoints?: CheckpointStore;
  /** Steps between checkpoints; there is also one at the end and on abort. Default 500. */
  readonly saveSteps?: number;
  /** Number of newest checkpoints to keep, in addition to the best. Default: all. */
  readonly saveTotalLimit?: number;
  /** Continues from the newest of `checkpoints`, if any. If false, existing checkpoints are an error. Default false. */
  readonly resume?: boolean;
  /** Steps between log entries. Default 10. */
  readonly loggingSteps?: number;
  readonly onLog?: (entry: LogEntry) => void;
  /** Called after each step is enqueued, with the number of steps made. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Stops after the current step and saves. */
  readonly signal?: AbortSignal;
}

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null;
const anObject = <T>(what: string) => aValue<T>(what, isObject);
/** An object with a method of that name. */
const having = <T>(what: string, method: string) =>
  aValue<T>(what, (value) => isObject(value) && typeof Reflect.get(value, method) === 'function');

const kinds: OptionKinds<TrainOptions<unknown>> = {
  parameters: required(anObject('an object of tensors')),
  loss: required(aFunction()),
  data: required(having('a data loader, such as dataLoader(examples, { batchSize, collate })', 'batches')),
  optimizer: required(having('an optimiser, such as adamW()', 'update')),
  maxSteps: required(aNumber),
  schedule: aFunction(),
  plateau: having('what reduceOnPlateau returns', 'next'),
  maxGradNorm: aNumber,
  gradientAccumulationSteps: aNumber,
  weightOf: aFunction(),
  tensorsOf: aFunction(),
  recorded: aBoolean,
  mostRecordings: aNumber,
  precision: oneOf('f32', 'mixed'),
  lossScale: anObject('a loss scale'),
  budgetBytes: aNumber,
  averageDecay: aNumber,
  trainable: aFunction(),
  redraw: aValue('a layer', (value) => isObject(value) && isObject(Reflect.get(value, 'parameters'))),
  seed: aNumber,
  evaluate: aFunction(),
  evalSteps: aNumber,
  metricForBest: aString,
  greaterIsBetter: aBoolean,
  earlyStopping: anObject('an object of patience and threshold'),
  checkpoints: having("a store of checkpoints, such as folderStore('runs/one')", 'list'),
  saveSteps: aNumber,
  saveTotalLimit: aNumber,
  resume: aBoolean,
  loggingSteps: aNumber,
  onLog: aFunction(),
  onProgress: aFunction(),
  signal: anObject('an AbortSignal'),
};

const earlyKinds: OptionKinds<EarlyStopping> = { patience: required(aNumber), threshold: aNumber };

type Defaulted =
  | 'gradientAccumulationSteps'
  | 'recorded'
  | 'mostRecordings'
  | 'precision'
  | 'lossScale'
  | 'trainable'
  | 'schedule'
  | 'seed'
  | 'evalSteps'
  | 'metricForBest'
  | 'greaterIsBetter'
  | 'saveSteps'
  | 'loggingSteps';

const COUNTS = [
  'gradientAccumulationSteps',
  'mostRecordings',
  'evalSteps',
  'saveSteps',
  'loggingSteps',
] as const;

/** Options with their defaults. */
export type ReadTrainOptions<Batch, Inputs> = TrainOptions<Batch, Inputs> &
  Required<Pick<TrainOptions<Batch, Inputs>, Defaulted>>;

/** The options that do not depend on the batch type. */
export type RunOptions = Omit<ReadTrainOptions<unknown, unknown>, 'data' | 'loss' | 'weightOf' | 'tensorsOf'>;

/** @throws TopKError INVALID_OPTION */
export function readTrainOptions<Batch, Inputs>(
  options: TrainOptions<Batch, Inputs>,
): ReadTrainOptions<Batch, Inputs> {
  readOptions('train', options as TrainOptions<unknown>, kinds);
  const { earlyStopping } = options;
  if (earlyStopping !== undefined) {
    readOptions('train: earlyStopping', earlyStopping, earlyKinds);
    requireWhole('train: earlyStopping', 'patience', earlyStopping.patience, 1);
    requireWithin('train: earlyStopping', 'threshold', earlyStopping.threshold ?? 0, 0);
  }
  const read: ReadTrainOptions<Batch, Inputs> = {
    ...options,
    gradientAccumulationSteps: options.gradientAccumulationSteps ?? 1,
    recorded: options.recorded ?? false,
    mostRecordings: options.mostRecordings ?? 4,
    precision: options.precision ?? 'f32',
    lossScale: options.lossScale ?? lossScale(),
    trainable: options.trainable ?? (options.redraw ? trainableExcept(options.redraw) : () => true),
    schedule: options.schedule ?? (() => ({})),
    seed: options.seed ?? 42,
    evalSteps: options.evalSteps ?? 500,
    metricForBest: options.metricForBest ?? 'loss',
    greaterIsBetter: options.greaterIsBetter ?? false,
    saveSteps: options.saveSteps ?? 500,
    loggingSteps: options.loggingSteps ?? 10,
  };
  requireWhole('train', 'maxSteps', read.maxSteps, 0);
  requireWhole('train', 'seed', read.seed, 0);
  for (const name of COUNTS) requireWhole('train', name, read[name], 1);
  if (read.gradientAccumulationSteps > MOST_MICRO_BATCHES) {
    throw new TopKError('INVALID_OPTION', 'train: bad gradientAccumulationSteps', {
      expected: `at most ${MOST_MICRO_BATCHES}`,
      got: String(read.gradientAccumulationSteps),
    });
  }
  for (const [name, parameter] of Object.entries(read.parameters)) {
    const isAveraged = read.averageDecay !== undefined;
    const isStored = read.checkpoints !== undefined || read.precision === 'mixed' || isAveraged;
    requireTensor('train', name, parameter, isStored ? { dtype: 'f32' } : undefined);
  }
  if (!Object.keys(read.parameters).some((name) => read.trainable(name))) {
    throw new TopKError('INVALID_OPTION', 'train: no parameter is trainable', {
      expected: 'at least one name that `trainable` takes',
      got: 'none',
    });
  }
  requireUntrained(read);
  if (read.precision === 'mixed') requireHalves(read.parameters);
  if (read.budgetBytes !== undefined) requirePositive('train', 'budgetBytes', read.budgetBytes);
  if (read.averageDecay !== undefined) requireWithin('train', 'averageDecay', read.averageDecay, 0, 1);
  if (read.maxGradNorm !== undefined) requirePositive('train', 'maxGradNorm', read.maxGradNorm);
  if (read.saveTotalLimit !== undefined) requireWhole('train', 'saveTotalLimit', read.saveTotalLimit, 1);
  for (const name of ['earlyStopping', 'plateau'] as const) {
    if (read[name] === undefined || read.evaluate !== undefined) continue;
    throw new TopKError('INVALID_OPTION', `train: ${name} needs evaluate`, {
      expected: 'evaluate',
      got: 'nothing',
    });
  }
  if (read.resume === true && read.checkpoints === undefined) {
    throw new TopKError('INVALID_OPTION', 'train: resume needs checkpoints', {
      expected: 'checkpoints',
      got: 'nothing',
    });
  }
  return read;
}

/** @throws TopKError INVALID_OPTION for features that are drawn anew and would be trained in between. */
function requireUntrained({
  parameters,
  trainable,
  redraw,
}: Pick<RunOptions, 'parameters' | 'trainable' | 'redraw'>): void {
  const found = Object.keys(parameters).find(
    (name) => (redraw?.parameters[name]?.redrawEvery ?? 0) > 0 && trainable(name),
  );
  if (found === undefined) return;
  throw new TopKError('INVALID_OPTION', 'train: random features that are drawn anew cannot be trained', {
    expected: 'a `trainable` that leaves them out',
    got: `one that takes ${found}`,
    fix: 'Pass trainable: trainableExcept(model)',
  });
}

/** @throws TopKError UNSUPPORTED for a backend without f16 tensors. */
function requireHalves(parameters: ParameterTree): void {
  const { name, capabilities } = backendOf(parameters);
  if (capabilities.dtypes.includes('f16')) return;
  throw new TopKError('UNSUPPORTED', `train: ${name} has no mixed precision`, {
    expected: 'a backend with f16 tensors',
    got: capabilities.dtypes.join(', '),
    fix: "Train with precision: 'f32', or on WebGPU",
  });
}
