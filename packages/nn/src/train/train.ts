import { describeValue, evaluate as evaluateTensors, TopKError } from '@topk-attention/core';
import type { LoadedBatch } from '../data/data-loader.js';
import { redraw } from '../declared/redraw.js';
import { backendOf, disposeParameters, type ParameterTree } from '../parameters.js';
import { begin, type Standing } from './begin.js';
import { saveCheckpoint, type TrainerState } from './checkpoint.js';
import { EventTurns } from './event-turns.js';
import type { LossScaleNumbers } from './loss-scale.js';
import type { OptimizerState } from './optimizers/optimizer.js';
import { type ReadTrainOptions, type RunOptions, readTrainOptions, type TrainOptions } from './options.js';
import { PendingSteps } from './pending.js';
import type { PlateauState } from './schedules/plateau.js';
import type { Schedule } from './schedules/schedule.js';
import { TrainLog } from './train-log.js';
import { TrainingStep, type WeighedBatch } from './training-step.js';

export interface TrainResult {
  /** The caller disposes of them, and of `state.tensors`. */
  readonly parameters: ParameterTree;
  readonly state: OptimizerState;
  /** With `averageDecay`: the average, and the frozen parameters. The caller disposes of them. */
  readonly average?: ParameterTree;
  /** Steps made, including those before a resume. Less than `maxSteps` after an early stop. */
  readonly steps: number;
  readonly bestMetric?: number;
  readonly bestStep?: number;
  /** After the last step of a run with mixed precision. */
  readonly lossScale?: LossScaleNumbers;
}

/**
 * Trains parameters: gradients of the loss, clipping, the optimiser's step, evaluations, checkpoints. Losses are read a
 * few steps late, so that the loop never waits for the device. A run that is killed and resumed from its last
 * checkpoint ends with the same bits as an uninterrupted one, on a device that gives equal bits for equal inputs.
 *
 * @throws TopKError INVALID_OPTION; NAN_FOUND for a loss or gradient that is not finite, with the step, its position in
 * the data and the parameter; ABORTED after the signal, once a checkpoint is saved; FILE_NOT_WRITTEN for a checkpoint
 * that its store rejects; MISSING_WEIGHT, EXTRA_WEIGHT, SHAPE_MISMATCH for a checkpoint of other parameters or of
 * another optimiser, and whatever `loadCheckpoint` throws; whatever data, loss, evaluation and the device throw. The
 * last checkpoint stays as it is, and errors of the project name it.
 *
 * @example
 * const { parameters } = await train<readonly number[]>({
 *   parameters: { x: tensor(backend, [0]) },
 *   loss: ({ x }, [target = 0]) => scope(() => sum(mul(sub(x as Tensor, target), sub(x as Tensor, target)))),
 *   data: dataLoader([[1], [3]], { batchSize: 1, collate: ([one]) => one as readonly number[] }),
 *   optimizer: adamW({ learningRate: 0.1 }),
 *   maxSteps: 10,
 * });
 */
export async function train<Batch, Inputs = Batch>(
  options: TrainOptions<Batch, Inputs>,
): Promise<TrainResult> {
  const given = readTrainOptions(options);
  const now = await begin(given);
  const read = { ...given, schedule: withPlateau(given.schedule, now) };
  let step = new TrainingStep(read, now);
  const pending = new PendingSteps(now.step === 0 ? read.parameters : {}, (isFinite) =>
    settle(read, now, isFinite),
  );
  const log = new TrainLog(read, now.step);
  const batches = read.data.batches(now.loader);
  const events = new EventTurns();
  try {
    while (now.step < read.maxSteps && !stopsEarly(read, now)) {
      await events.giveWay();
      if (read.signal?.aborted === true) await abort(read, now, pending, log);
      if (redrawDue(read, now)) {
        // A recording holds the features that it was made with.
        step.dispose();
        step = new TrainingStep(read, now);
      }
      await makeStep(read, now, step, batches, pending);
      log.add(await pending.due(), now);
      read.onProgress?.(now.step, read.maxSteps);
      const isLast = now.step === read.maxSteps;
      if (read.evaluate !== undefined && (isLast || now.step % read.evalSteps === 0)) {
        log.add(await pending.due({ all: true }), now);
        await log.apart(() => evaluateRun(read, now, log));
      }
      if (isLast || stopsEarly(read, now) || now.step % read.saveSteps === 0 || now.best?.step === now.step) {
        log.add(await pending.due({ all: true }), now);
        await log.apart(() => save(read, now));
      }
    }
    const average = averaged(now);
    return {
      parameters: now.parameters,
      state: now.optimizer,
      ...(average && { average: ownHandles(average, now.average) }),
      steps: now.step,
      ...(now.best && { bestMetric: now.best.metric, bestStep: now.best.step }),
      ...(now.scaling && { lossScale: now.scaling.numbers }),
    };
  } catch (error) {
    disposeParameters(now.parameters);
    disposeParameters(now.optimizer.tensors);
    disposeParameters(now.average ?? {});
    throw read.checkpoints === undefined ? error : withLastCheckpoint(error, now.saved);
  } finally {
    if (now.scaling !== undefined) disposeParameters(now.scaling.state);
    events.dispose();
    step.dispose();
    await pending.dispose();
    await batches.return(undefined as never);
  }
}

/** All parameters, with the averages of those that have one. They stay the run's. */
const averaged = ({ average, parameters }: Standing): ParameterTree | undefined =>
  average && { ...parameters, ...average };

/** A tree that may be disposed of apart from the parameters. */
const ownHandles = (tree: ParameterTree, own: ParameterTree = {}): ParameterTree =>
  Object.fromEntries(Object.entries(tree).map(([name, one]) => [name, own[name] ?? one.alias()]));

/** Replaces the random features that are due before the next step. A resumed run replaces the same ones. */
function redrawDue({ redraw: layer, seed }: RunOptions, now: Standing): boolean {
  if (layer === undefined) return false;
  const { parameters, replaced } = redraw(layer, now.parameters, now.step, seed);
  now.parameters = parameters;
  disposeParameters(replaced);
  return Object.keys(replaced).length > 0;
}

function stopsEarly(read: RunOptions, now: Standing): boolean {
  return read.earlyStopping !== undefined && now.evaluationsSinceBest >= read.earlyStopping.patience;
}

/** A schedule times the factor of the run's plateau, if it has one. */
const withPlateau =
  (schedule: Schedule, now: Standing): Schedule =>
  (step) => {
    const own = schedule(step);
    if (typeof own !== 'object') {
      throw new TopKError('INVALID_OPTION', `train: bad schedule at step ${step}`, {
        expected: 'an object such as { rateFactor: 0.5 }',
        got: describeValue(own),
      });
    }
    return now.plateau === undefined
      ? own
      : { ...own, rateFactor: (own.rateFactor ?? 1) * now.plateau.rateFactor };
  };

/** JSON has no infinity, which is the best metric before the first evaluation. */
const storedPlateau = ({
  rateFactor,
  best,
  badEvaluations,
  cooling,
}: PlateauState): NonNullable<TrainerState['plateau']> => ({
  rate_factor: rateFactor,
  ...(Number.isFinite(best) && { best }),
  bad_evaluations: badEvaluations,
  cooling,
});

function storedScale({
  scale,
  goodSteps,
  skippedSteps,
}: LossScaleNumbers): NonNullable<TrainerState['loss_scale']> {
  return { scale, good_steps: goodSteps, skipped_steps: skippedSteps };
}

/** Takes note of whether a step's gradients were finite; false if they never will be. */
function settle(
  { lossScale, trainable }: RunOptions,
  now: Standing,
  isFinite: boolean,
): LossScaleNumbers | undefined | false {
  const { scaling, optimizer } = now;
  if (scaling === undefined) return isFinite ? undefined : false;
  // A lower scale would not help any more.
  if (!isFinite && scaling.numbers.scale <= 1) return false;
  scaling.numbers = lossScale.numbersAfter(scaling.numbers, isFinite);
  if (!isFinite) {
    // It was counted when it was made.
    const steps = Object.entries(optimizer.steps).map(([name, count]) => [
      name,
      trainable(name) ? count - 1 : count,
    ]);
    now.optimizer = { ...optimizer, steps: Object.fromEntries(steps) };
  }
  return scaling.numbers;
}

async function makeStep<Batch, Inputs>(
  read: ReadTrainOptions<Batch, Inputs>,
  now: Standing,
  step: TrainingStep<Batch, Inputs>,
  batches: AsyncGenerator<LoadedBatch<Batch>, never>,
  pending: PendingSteps,
): Promise<void> {
  const weighed: WeighedBatch<Batch>[] = [];
  const from = now.loader;
  for (let i = 0; i < read.gradientAccumulationSteps; i++) {
    const { batch, size, state } = (await batches.next()).value;
    const weight = read.weightOf?.(batch) ?? size;
    if (!(Number.isFinite(weight) && weight >= 0)) {
      throw new TopKError('INVALID_OPTION', `train: bad weight of a batch in step ${now.step}`, {
        expected: 'a number of at least 0 from weightOf',
        got: String(weight),
      });
    }
    weighed.push({ batch, weight });
    now.loader = state;
  }
  if (!weighed.some(({ weight }) => weight > 0)) {
    throw new TopKError('INVALID_OPTION', `train: step ${now.step} has no targets`, {
      expected: 'a weight above 0',
      got: '0',
      fix: 'Leave out batches without targets, or check weightOf',
    });
  }
  const made = step.make(now, weighed, pending.count);
  if (backendOf(now.parameters).capabilities.execution === 'lazy') {
    try {
      // The graph of a step ends here; otherwise the next one would be added to it.
      const trees = [
        now.parameters,
        now.optimizer.tensors,
        now.average ?? {},
        now.scaling?.state ?? {},
        { ...made },
      ];
      await evaluateTensors(...trees.flatMap((tree) => Object.values(tree)));
    } catch (error) {
      disposeParameters({ ...made });
      throw error;
    }
  }
  pending.add(
    now.step,
    made,
    step.trainable,
    from,
    now.loader,
    weighed.map(({ batch }) => batch),
  );
  now.step++;
}

async function evaluateRun(read: RunOptions, now: Standing, log: TrainLog): Promise<void> {
  const metrics = (await read.evaluate?.(averaged(now) ?? now.parameters)) ?? {};
  const metric = metrics[read.metricForBest];
  if (metric === undefined || !Number.isFinite(metric)) {
    throw new TopKError(
      metric === undefined ? 'INVALID_OPTION' : 'NAN_FOUND',
      `train: bad ${read.metricForBest}`,
      {
        expected: `a finite number named ${read.metricForBest} from evaluate`,
        got: metric === undefined ? Object.keys(metrics).join(', ') || 'nothing' : String(metric),
        fix: 'Name one of its metrics in metricForBest',
      },
    );
  }
  log.evaluated(metrics, now);
  if (now.plateau !== undefined) now.plateau = read.plateau?.next(now.plateau, metric) ?? now.plateau;
  const least = read.earlyStopping?.threshold ?? 0;
  const sign = read.greaterIsBetter ? 1 : -1;
  const isBetter = now.best === undefined || sign * (metric - now.best.metric) > least;
  now.evaluationsSinceBest = isBetter ? 0 : now.evaluationsSinceBest + 1;
  if (isBetter) now.best = { metric, step: now.step };
}

async function save(read: RunOptions, now: Standing): Promise<void> {
  const store = read.checkpoints;
  if (store === undefined || now.saved === now.step) return;
  const average = averaged(now);
  await saveCheckpoint(store, {
    parameters: now.parameters,
    optimizer: now.optimizer,
    ...(average && { average }),
    trainer: {
      global_step: now.step,
      seed: read.seed,
      loader: now.loader,
      evaluations_since_best: now.evaluationsSinceBest,
      ...(now.plateau && { plateau: storedPlateau(now.plateau) }),
      optimizer_steps: now.optimizer.steps,
      ...(now.best && { best_metric: now.best.metric, best_step: now.best.step }),
      ...(read.averageDecay !== undefined && { average_decay: read.averageDecay }),
      ...(now.scaling && { loss_scale: storedScale(now.scaling.numbers) }),
    },
  });
  now.saved = now.step;
  if (read.saveTotalLimit === undefined) return;
  const others = (await store.list()).filter((step) => step !== now.best?.step);
  for (const step of others.slice(0, -read.saveTotalLimit)) await store.remove(step);
}

async function abort(read: RunOptions, now: Standing, pending: PendingSteps, log: TrainLog): Promise<never> {
  log.add(await pending.due({ all: true }), now);
  await save(read, now);
  throw new TopKError('ABORTED', `train: aborted after step ${now.step} of ${read.maxSteps}`, {
    ...(read.checkpoints && { fix: 'Pass resume: true to continue' }),
    cause: read.signal?.reason,
  });
}

/** Adds the checkpoint to continue from to an error of the project. The caller's own errors stay as they are. */
function withLastCheckpoint(error: unknown, saved: number): unknown {
  if (!(error instanceof TopKError) || error.code === 'ABORTED') return error;
  const last =
    saved < 0
      ? 'No checkpoint was saved before'
      : `The last checkpoint is of step ${saved}: pass resume: true to continue from there`;
  return new TopKError(error.code, error.message, { fix: last, cause: error });
}
