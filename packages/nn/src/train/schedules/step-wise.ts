import { aNumber, anArray, type OptionKinds, readOptions, required, TopKError } from '@topk-attention/core';
import { requireWhole } from '../../require.js';
import type { Schedule } from './schedule.js';

// PyTorch's family, each as a factor of the optimiser's rate.

export interface ConstantLROptions {
  /** Default 1/3. */
  readonly factor?: number;
  /** Steps for which it holds. Default 5. */
  readonly totalIters?: number;
}

export interface LinearLROptions {
  /** Default 1/3. */
  readonly startFactor?: number;
  /** Default 1. */
  readonly endFactor?: number;
  /** Default 5. */
  readonly totalIters?: number;
}

export interface CosineAnnealingOptions {
  /** Steps from the full rate to the minimum. */
  readonly tMax: number;
  /** The minimum factor; PyTorch gives a rate (etaMin) instead. Default 0. */
  readonly minFactor?: number;
}

export interface StepLROptions {
  /** Steps between two reductions. */
  readonly stepSize: number;
  /** Default 0.1. */
  readonly gamma?: number;
}

export interface MultiStepLROptions {
  /** Steps at which the rate falls, ascending. */
  readonly milestones: readonly number[];
  /** Default 0.1. */
  readonly gamma?: number;
}

const constantKinds: OptionKinds<ConstantLROptions> = { factor: aNumber, totalIters: aNumber };
const linearKinds: OptionKinds<LinearLROptions> = {
  startFactor: aNumber,
  endFactor: aNumber,
  totalIters: aNumber,
};
const cosineKinds: OptionKinds<CosineAnnealingOptions> = { tMax: required(aNumber), minFactor: aNumber };
const stepKinds: OptionKinds<StepLROptions> = { stepSize: required(aNumber), gamma: aNumber };
const multiKinds: OptionKinds<MultiStepLROptions> = { milestones: required(anArray()), gamma: aNumber };

/** `factor` until `totalIters`, then the full rate (ConstantLR). */
export function constantLR(options?: ConstantLROptions): Schedule {
  const { factor = 1 / 3, totalIters = 5 } = readOptions('constantLR', options, constantKinds);
  requireWhole('constantLR', 'totalIters', totalIters, 0);
  return (step) => ({ rateFactor: step < totalIters ? factor : 1 });
}

/** From `startFactor` to `endFactor` in `totalIters` steps (LinearLR). */
export function linearLR(options?: LinearLROptions): Schedule {
  const {
    startFactor = 1 / 3,
    endFactor = 1,
    totalIters = 5,
  } = readOptions('linearLR', options, linearKinds);
  requireWhole('linearLR', 'totalIters', totalIters, 1);
  return (step) => ({
    rateFactor: startFactor + (endFactor - startFactor) * (Math.min(step, totalIters) / totalIters),
  });
}

/** A cosine of period 2 tMax (CosineAnnealingLR). */
export function cosineAnnealingLR(options: CosineAnnealingOptions): Schedule {
  const { tMax, minFactor = 0 } = readOptions('cosineAnnealingLR', options, cosineKinds);
  requireWhole('cosineAnnealingLR', 'tMax', tMax, 1);
  return (step) => ({
    rateFactor: minFactor + ((1 - minFactor) * (1 + Math.cos((Math.PI * step) / tMax))) / 2,
  });
}

/** A factor of gamma for every `stepSize` steps (StepLR). */
export function stepLR(options: StepLROptions): Schedule {
  const { stepSize, gamma = 0.1 } = readOptions('stepLR', options, stepKinds);
  requireWhole('stepLR', 'stepSize', stepSize, 1);
  return (step) => ({ rateFactor: gamma ** Math.floor(step / stepSize) });
}

/** A factor of gamma for every milestone passed (MultiStepLR). */
export function multiStepLR(options: MultiStepLROptions): Schedule {
  const { milestones, gamma = 0.1 } = readOptions('multiStepLR', options, multiKinds);
  requireAscending('multiStepLR', milestones);
  return (step) => ({ rateFactor: gamma ** milestones.filter((at) => at <= step).length });
}

/** A factor of gamma for every step (ExponentialLR). */
export function exponentialLR(gamma: number): Schedule {
  return (step) => ({ rateFactor: gamma ** step });
}

/**
 * One schedule after another: the next begins, at its own step 0, at each milestone (SequentialLR).
 *
 * @throws TopKError INVALID_OPTION unless there is one milestone between each two consecutive schedules.
 */
export function sequentialLR(schedules: readonly Schedule[], milestones: readonly number[]): Schedule {
  if (schedules.length !== milestones.length + 1) {
    throw new TopKError('INVALID_OPTION', 'sequentialLR: schedules and milestones do not match', {
      expected: 'one milestone between every two schedules',
      got: `${schedules.length} schedules, ${milestones.length} milestones`,
    });
  }
  requireAscending('sequentialLR', milestones);
  return (step) => {
    const index = milestones.filter((at) => at <= step).length;
    return (schedules[index] as Schedule)(step - (milestones[index - 1] ?? 0));
  };
}

function requireAscending(where: string, milestones: readonly number[]): void {
  for (const [index, at] of milestones.entries()) {
    requireWhole(where, 'milestones', at, index === 0 ? 0 : (milestones[index - 1] as number) + 1);
  }
}
