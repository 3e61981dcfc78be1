import { type StepSeeds, type Tensor, TopKError } from '@topk-attention/core';
import type { ParameterTree } from '../parameters.js';
import type { Seeds } from '../run.js';
import { seedsFrom } from '../seeds.js';

/** What a loss is told besides parameters and batch. */
export interface LossContext {
  /** Optimiser steps made before. In a recorded step it cannot be read, as replays would not see it change. */
  readonly step: number;
  /** Of this step and micro-batch: for dropout. In a recorded step it cannot be read: take `seeds`. */
  readonly seed: number;
  /** Of this step and micro-batch, by path: `seedsFrom(seed)`, also in a recorded step. */
  readonly seeds: Seeds;
}

/** The mean loss of a batch, shape []. */
export type Loss<Batch> = (parameters: ParameterTree, batch: Batch, context: LossContext) => Tensor;

/** Of one step: each has a seed of its own. */
export const MOST_MICRO_BATCHES = 1024;

/** What the loss of a micro-batch is told in a step that is called. */
export function calledContext(runSeed: number, step: number, index: number): LossContext {
  const seed = seedOf(runSeed, step, index);
  return { step, seed, seeds: (path) => seedsFrom(seed)(path) };
}

/** What it is told in a step that is recorded: nothing that a replay would not see change. */
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

/** The seeds of a recorded step: those that a called one has, by index of the micro-batch and path. */
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
    expected: 'a loss of tensors, which replays do not run',
    got: 'a number that changes from step to step',
    fix,
  });
}
