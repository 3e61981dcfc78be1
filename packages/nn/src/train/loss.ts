import { type StepSeeds, type Tensor, TopKError } from '@topk-attention/core';
import type { ParameterTree } from '../parameters.js';
import type { Seeds } from '../run.js';
import { seedsFrom } from '../seeds.js';

/** What a loss gets in addition to parameters and batch. */
export interface LossContext {
  /** Optimiser steps made before. Cannot be read in a recorded step, as replays would not see it change. */
  readonly step: number;
  /** Seed of this step and micro-batch, for dropout. Cannot be read in a recorded step: use `seeds`. */
  readonly seed: number;
  /** Seeds of this step and micro-batch, by path: `seedsFrom(seed)`, even in a recorded step. */
  readonly seeds: Seeds;
}

/** The mean loss of a batch, shape []. */
export type Loss<Batch> = (parameters: ParameterTree, batch: Batch, context: LossContext) => Tensor;

/** Most micro-batches in a step; each has its own seed. */
export const MOST_MICRO_BATCHES = 1024;

/** The context of a micro-batch's loss in a called step. */
export function calledContext(runSeed: number, step: number, index: number): LossContext {
  const seed = seedOf(runSeed, step, index);
  return { step, seed, seeds: (path) => seedsFrom(seed)(path) };
}

/** The context in a recorded step: nothing whose change a replay would miss. */
export function recordedContext(seeds: StepSeeds, index: number): LossContext {
  return {
    get step() {
      return refuse('step', 'Leave it out of the loss, or train without recorded');
    },
    get seed() {
      return refuse('seed', 'Take context.seeds(path), or train without recorded');
    },
    seeds: (path) => seeds(`${index}/${path}`),
  };
}

/** The seeds of a recorded step: those of a called step, by micro-batch index and path. */
export function recordedSeeds(runSeed: number, step: number): StepSeeds {
  return (indexed) => {
    const cut = indexed.indexOf('/');
    const seed = seedOf(runSeed, step, Number(indexed.slice(0, cut)));
    return seedsFrom(seed)(indexed.slice(cut + 1));
  };
}

const seedOf = (runSeed: number, step: number, index: number): number =>
  runSeed + (step * MOST_MICRO_BATCHES + index) * 0x1_0000;

function refuse(name: string, fix: string): never {
  throw new TopKError('INVALID_OPTION', `train: the loss reads context.${name} in a recorded step`, {
    expected: 'a loss that depends on tensors only, because replays do not run its code',
    got: 'a number that changes from step to step',
    fix,
  });
}
