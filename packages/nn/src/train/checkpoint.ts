import { type Backend, type Tensor, TopKError, tensor } from '@topk-attention/core';
import type { LoaderState } from '../data/data-loader.js';
import { bytesSource } from '../files/byte-source.js';
import { disposeParameters, type ParameterTree } from '../parameters.js';
import { requireTensor } from '../require.js';
import { openSafetensors } from '../safetensors/read.js';
import { encodeSafetensors, type TensorToWrite } from '../safetensors/write.js';
import type { OptimizerState } from './optimizers/optimizer.js';

/** Everything in a run that is not a tensor. Written as `trainer_state.json`, with Hugging Face's names. */
export interface TrainerState {
  /** Optimiser steps made. */
  readonly global_step: number;
  readonly seed: number;
  readonly loader: LoaderState;
  readonly best_metric?: number;
  readonly best_step?: number;
  /** Evaluations since the best one. */
  readonly evaluations_since_best: number;
  /** In a run with a plateau; `best` is absent before the first evaluation. */
  readonly plateau?: {
    readonly rate_factor: number;
    readonly best?: number;
    readonly bad_evaluations: number;
    readonly cooling: number;
  };
  /** In a run that keeps an average of its parameters. */
  readonly average_decay?: number;
  /** Steps of the optimiser, by parameter. */
  readonly optimizer_steps: { readonly [parameter: string]: number };
  /** In a run with mixed precision. */
  readonly loss_scale?: {
    readonly scale: number;
    /** Steps with finite gradients since the scale changed. */
    readonly good_steps: number;
    readonly skipped_steps: number;
  };
}

/** A run at the end of a step. */
export interface Checkpoint {
  readonly parameters: ParameterTree;
  readonly optimizer: OptimizerState;
  readonly trainer: TrainerState;
  /** Read back if `trainer.average_decay` is given. */
  readonly average?: ParameterTree;
}

/** Where checkpoints are kept. A checkpoint exists completely or not at all, whenever the process dies. */
export interface CheckpointStore {
  /** Steps that have a checkpoint, ascending. */
  list(): Promise<readonly number[]>;
  /** Replaces any checkpoint of the same step. */
  write(step: number, files: { readonly [name: string]: Uint8Array }): Promise<void>;
  /** @throws TopKError FILE_NOT_FOUND */
  read(step: number, name: string): Promise<Uint8Array>;
  remove(step: number): Promise<void>;
}

const PARAMETERS = 'model.safetensors';
const OPTIMIZER = 'optimizer.safetensors';
const AVERAGE = 'average.safetensors';
const TRAINER = 'trainer_state.json';
const FORMAT = 'topk-attention checkpoint 1';

/**
 * Writes `model.safetensors`, `optimizer.safetensors` (`<parameter>.exp_avg`, ...), `trainer_state.json` and, for an
 * average of the parameters, `average.safetensors`. Tensors are f32, laid out as in memory. Waits for the device.
 *
 * @throws TopKError DTYPE_MISMATCH for tensors that are not f32; NAN_FOUND, before anything is written;
 * FILE_NOT_WRITTEN, with what the store threw as its cause; whatever poisoned tensors throw.
 */
export async function saveCheckpoint(
  store: CheckpointStore,
  { parameters, optimizer, trainer, average }: Checkpoint,
): Promise<void> {
  const metadata = { format: FORMAT };
  const files = {
    [PARAMETERS]: encodeSafetensors(await tensorsToWrite(parameters), metadata),
    [OPTIMIZER]: encodeSafetensors(await tensorsToWrite(optimizer.tensors), metadata),
    ...(average && { [AVERAGE]: encodeSafetensors(await tensorsToWrite(average), metadata) }),
    [TRAINER]: new TextEncoder().encode(
      `${JSON.stringify({ ...trainer, optimizer_steps: optimizer.steps }, undefined, 2)}\n`,
    ),
  };
  try {
    await store.write(trainer.global_step, files);
  } catch (cause) {
    if (cause instanceof TopKError) throw cause;
    throw new TopKError(
      'FILE_NOT_WRITTEN',
      `the checkpoint of step ${trainer.global_step} cannot be written`,
      {
        got: cause instanceof Error ? cause.message : String(cause),
        fix: 'Check free space and permissions there. Earlier checkpoints are intact',
        cause,
      },
    );
  }
}

/**
 * Reads a checkpoint onto a backend.
 *
 * @throws TopKError FILE_NOT_FOUND, FILE_TRUNCATED, FILE_CORRUPT, leaving nothing on the backend.
 */
export async function loadCheckpoint(
  store: CheckpointStore,
  step: number,
  backend: Backend,
): Promise<Checkpoint> {
  const trainer = readTrainer(await store.read(step, TRAINER), step);
  const read: ParameterTree[] = [];
  const next = async (name: string): Promise<ParameterTree> => {
    const tree = await uploaded(backend, await store.read(step, name), `${name} of step ${step}`);
    read.push(tree);
    return tree;
  };
  try {
    return {
      parameters: await next(PARAMETERS),
      optimizer: { steps: trainer.optimizer_steps, tensors: await next(OPTIMIZER) },
      trainer,
      ...(trainer.average_decay !== undefined && { average: await next(AVERAGE) }),
    };
  } catch (error) {
    for (const tree of read) disposeParameters(tree);
    throw error;
  }
}

async function tensorsToWrite(tree: ParameterTree): Promise<{ [name: string]: TensorToWrite }> {
  // Read all at once, to wait for the device only once and to observe every failure.
  const written = Object.entries(tree).map(async ([name, one]): Promise<[string, TensorToWrite]> => {
    requireTensor('saveCheckpoint', name, one, { dtype: 'f32' });
    const data = (await one.data()) as Float32Array;
    if (data.some(Number.isNaN)) {
      throw new TopKError('NAN_FOUND', `saveCheckpoint: ${name} holds NaN`, {
        expected: 'numbers from which a run can continue',
        got: `NaN at ${data.findIndex(Number.isNaN)} of ${data.length}`,
        fix: 'Lower the learning rate, or set maxGradNorm',
      });
    }
    return [name, { dtype: 'F32', shape: one.shape, data }];
  });
  return Object.fromEntries(await Promise.all(written));
}

async function uploaded(backend: Backend, bytes: Uint8Array, name: string): Promise<ParameterTree> {
  const file = await openSafetensors(bytesSource(bytes, name));
  const made: { [name: string]: Tensor } = {};
  try {
    for (const [one, { shape }] of file.tensors) {
      const data = await file.readFloat32(one);
      // No checkpoint is written with NaN.
      if (data.some(Number.isNaN)) {
        throw new TopKError('FILE_CORRUPT', `${name}: ${one} holds NaN`, {
          expected: 'numbers from which a run can continue',
          got: `NaN at ${data.findIndex(Number.isNaN)} of ${data.length}`,
          fix: 'Resume from an earlier checkpoint',
        });
      }
      made[one] = tensor(backend, data, shape);
      void made[one].handle;
    }
    return made;
  } catch (error) {
    disposeParameters(made);
    throw error;
  } finally {
    await file.close();
  }
}

function isLossScale(value: unknown): boolean {
  const { scale, good_steps, skipped_steps } = (value ?? {}) as Partial<
    NonNullable<TrainerState['loss_scale']>
  >;
  const counts = [good_steps, skipped_steps];
  return Number.isFinite(scale) && counts.every((one) => Number.isSafeInteger(one) && (one as number) >= 0);
}

function isPlateau(value: unknown): boolean {
  const { rate_factor, best, bad_evaluations, cooling } = (value ?? {}) as Partial<
    NonNullable<TrainerState['plateau']>
  >;
  const numbers = [rate_factor, bad_evaluations, cooling, ...(best === undefined ? [] : [best])];
  return numbers.every((one) => Number.isFinite(one));
}

function readTrainer(bytes: Uint8Array, step: number): TrainerState {
  const corrupt = (got: string, cause?: unknown): TopKError =>
    new TopKError('FILE_CORRUPT', `${TRAINER} of step ${step} cannot be used`, {
      expected: 'the JSON of a training run',
      got,
      fix: 'Resume from an earlier checkpoint',
      cause,
    });
  let read: unknown;
  try {
    read = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw corrupt('invalid JSON', cause);
  }
  const state = read as TrainerState;
  const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
  if (state?.global_step !== step) throw corrupt(`global_step ${state?.global_step}`);
  const counts = [state.seed, state.loader?.epoch, state.loader?.batch, state.evaluations_since_best];
  if (!counts.every(isCount)) throw corrupt('invalid counts');
  const steps = state.optimizer_steps;
  if (typeof steps !== 'object' || steps === null || !Object.values(steps).every(isCount)) {
    throw corrupt('invalid optimizer_steps');
  }
  const scaling: unknown = state.loss_scale;
  if (scaling !== undefined && !isLossScale(scaling)) throw corrupt('invalid loss_scale');
  const plateau: unknown = state.plateau;
  if (plateau !== undefined && !isPlateau(plateau)) throw corrupt('invalid plateau');
  const decay: unknown = state.average_decay;
  if (decay !== undefined && !Number.isFinite(decay)) throw corrupt(`average_decay ${decay}`);
  const { best_metric: metric, best_step: best } = state;
  const hasBest = Number.isFinite(metric) && isCount(best);
  if (!hasBest && (metric !== undefined || best !== undefined)) {
    throw corrupt(`best_metric ${metric}, best_step ${best}`);
  }
  return state;
}
