import { formatShape, type Shape, scope, type Tensor, TopKError } from '@topk-attention/core';
import { sameShape } from '@topk-attention/core/backend';
import type { LoaderState } from '../data/data-loader.js';
import { backendOf, disposeParameters, type ParameterTree } from '../parameters.js';
import { type Checkpoint, type CheckpointStore, loadCheckpoint } from './checkpoint.js';
import type { LossScaleNumbers, LossScaleState } from './loss-scale.js';
import type { OptimizerState } from './optimizers/optimizer.js';
import type { RunOptions } from './options.js';
import type { PlateauState } from './schedules/plateau.js';

/** The current state of a run. */
export interface Standing {
  parameters: ParameterTree;
  optimizer: OptimizerState;
  /** Of the trainable parameters, in a run that keeps one. */
  average?: ParameterTree;
  step: number;
  loader: LoaderState;
  best?: { readonly metric: number; readonly step: number };
  evaluationsSinceBest: number;
  /** In a run with a plateau. */
  plateau?: PlateauState;
  /** Step of the last checkpoint; -1 before the first. */
  saved: number;
  /** In a run with mixed precision: what is known of the loss scale, and what the device has. */
  scaling?: { numbers: LossScaleNumbers; state: LossScaleState };
}

type Shapes = { readonly [name: string]: Shape };

/** The newest checkpoint, or the caller's parameters. */
export async function begin(read: RunOptions): Promise<Standing> {
  const steps = (await read.checkpoints?.list()) ?? [];
  if (steps.length === 0 || read.checkpoints === undefined) {
    return {
      ...scope(() => {
        const parameters = Object.fromEntries(
          Object.entries(read.parameters).map(([name, one]) => [name, one.alias()]),
        );
        return {
          parameters,
          optimizer: read.optimizer.init(parameters),
          ...(read.averageDecay !== undefined && {
            average: Object.fromEntries(
              trainableOf(read, parameters).map(([name, one]) => [name, one.alias()]),
            ),
          }),
        };
      }),
      step: 0,
      loader: { epoch: 0, batch: 0 },
      evaluationsSinceBest: 0,
      ...(read.plateau && { plateau: read.plateau.init() }),
      saved: -1,
      ...scalingOf(read, read.lossScale.start),
    };
  }
  if (read.resume !== true) {
    throw new TopKError('INVALID_OPTION', 'train: the store holds checkpoints of an earlier run', {
      expected: 'none',
      got: `steps ${steps.join(', ')}`,
      fix: 'Pass resume: true to continue, or use another place for checkpoints',
    });
  }
  // Before loading the checkpoint, so that two states are never on the device at once.
  const fresh = read.optimizer.init(read.parameters).tensors;
  const slots = shapesOf(fresh);
  disposeParameters(fresh);
  const loaded = await loadNewest(read.checkpoints, steps, read.parameters);
  const { parameters, optimizer, trainer, average } = loaded;
  try {
    requireSame(trainer.global_step, 'run', shapesOf(read.parameters), parameters);
    requireSame(trainer.global_step, 'optimiser', slots, optimizer.tensors);
    const precision = trainer.loss_scale === undefined ? 'f32' : 'mixed';
    requireEqual('precision', read.precision, precision);
    requireEqual('seed', read.seed, trainer.seed);
    requireEqual('plateau', read.plateau !== undefined, trainer.plateau !== undefined);
    requireEqual('averageDecay', read.averageDecay, trainer.average_decay);
    if (average !== undefined) {
      requireSame(trainer.global_step, 'run', shapesOf(read.parameters), average);
    }
  } catch (error) {
    disposeParameters(parameters);
    disposeParameters(optimizer.tensors);
    disposeParameters(average ?? {});
    throw error;
  }
  return {
    ...(average && { average: keptOf(read, average) }),
    // In the caller's order, which the optimiser's sums follow.
    parameters: Object.fromEntries(
      Object.keys(read.parameters).map((name) => [name, parameters[name] as Tensor]),
    ),
    optimizer,
    step: trainer.global_step,
    loader: trainer.loader,
    ...(read.plateau && { plateau: plateauIn(trainer, read.plateau.init()) }),
    evaluationsSinceBest: trainer.evaluations_since_best,
    saved: trainer.global_step,
    ...(trainer.best_step !== undefined && {
      best: { metric: trainer.best_metric as number, step: trainer.best_step },
    }),
    ...scalingOf(read, numbersIn(trainer) ?? read.lossScale.start),
  };
}

type Trainable = Pick<RunOptions, 'parameters' | 'trainable'>;

/** Entries of the trainable ones, in the caller's order. */
const trainableOf = ({ parameters, trainable }: Trainable, tree: ParameterTree): [string, Tensor][] =>
  Object.keys(parameters).flatMap((name) => (trainable(name) ? [[name, tree[name] as Tensor]] : []));

/** The averages of a file, without those of frozen parameters: these are in the parameters. */
function keptOf(read: Trainable, average: ParameterTree): ParameterTree {
  for (const [name, one] of Object.entries(average)) if (!read.trainable(name)) one.dispose();
  return Object.fromEntries(trainableOf(read, average));
}

/** @throws TopKError INVALID_OPTION for a checkpoint of a run with another option. */
function requireEqual(name: string, wanted: unknown, stored: unknown): void {
  if (wanted === stored) return;
  const told = (one: unknown): string => (one === undefined ? `no ${name}` : `${name} ${one}`);
  throw new TopKError('INVALID_OPTION', 'train: the checkpoint belongs to another run', {
    expected: told(wanted),
    got: told(stored),
    fix: ANOTHER_RUN,
  });
}

/** @param fresh before the first evaluation there is no best metric to store */
function plateauIn({ plateau }: Checkpoint['trainer'], fresh: PlateauState): PlateauState {
  if (plateau === undefined) return fresh;
  const { rate_factor: rateFactor, bad_evaluations: badEvaluations, cooling } = plateau;
  return { rateFactor, best: plateau.best ?? fresh.best, badEvaluations, cooling };
}

function numbersIn({ loss_scale: stored }: Checkpoint['trainer']): LossScaleNumbers | undefined {
  return stored && { scale: stored.scale, goodSteps: stored.good_steps, skippedSteps: stored.skipped_steps };
}

function scalingOf(
  { lossScale, parameters, precision }: RunOptions,
  numbers: LossScaleNumbers,
): Pick<Standing, 'scaling'> {
  if (precision !== 'mixed') return {};
  return { scaling: { numbers, state: lossScale.stateOf(backendOf(parameters), numbers) } };
}

const ANOTHER_RUN = 'Resume with the options of that run, or use another place for checkpoints';

/** Loads the checkpoint of the last step. If it is unusable, the error says where to continue from instead. */
async function loadNewest(
  store: CheckpointStore,
  steps: readonly number[],
  parameters: ParameterTree,
): Promise<Checkpoint> {
  const newest = steps.at(-1) as number;
  try {
    return await loadCheckpoint(store, newest, backendOf(parameters));
  } catch (error) {
    if (!(error instanceof TopKError) || !error.code.startsWith('FILE_')) throw error;
    const before = steps.at(-2);
    const then = before === undefined ? 'begin anew' : `continue from step ${before}`;
    throw new TopKError(error.code, error.message, {
      fix: `Remove the checkpoint of step ${newest} to ${then}`,
      cause: error,
    });
  }
}

const shapesOf = (tree: ParameterTree): Shapes =>
  Object.fromEntries(Object.entries(tree).map(([name, one]) => [name, one.shape]));

function requireSame(step: number, what: 'run' | 'optimiser', wanted: Shapes, found: ParameterTree): void {
  const refuse = (
    code: 'MISSING_WEIGHT' | 'EXTRA_WEIGHT' | 'SHAPE_MISMATCH',
    expected: string,
    got: string,
  ) =>
    new TopKError(code, `train: the checkpoint of step ${step} belongs to another ${what}`, {
      expected,
      got,
      fix: ANOTHER_RUN,
    });
  for (const [name, shape] of Object.entries(wanted)) {
    const one = found[name];
    if (one === undefined) throw refuse('MISSING_WEIGHT', name, 'nothing of that name');
    if (sameShape(one.shape, shape)) continue;
    throw refuse('SHAPE_MISMATCH', `${name} ${formatShape(shape)}`, formatShape(one.shape));
  }
  const extra = Object.keys(found).find((name) => !Object.hasOwn(wanted, name));
  if (extra !== undefined) throw refuse('EXTRA_WEIGHT', `no names besides those of this ${what}`, extra);
}
