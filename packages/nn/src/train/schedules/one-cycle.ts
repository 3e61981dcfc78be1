import {
  aBoolean,
  aNumber,
  type OptionKinds,
  oneOf,
  readOptions,
  required,
  TopKError,
} from '@topk-attention/core';
import { requireWhole } from '../../require.js';
import type { Schedule } from './schedule.js';

export interface OneCycleOptions {
  readonly totalSteps: number;
  /** Fraction of the run in which the rate rises. Default 0.3. */
  readonly pctStart?: number;
  /** Default 'cos'. */
  readonly annealStrategy?: 'cos' | 'linear';
  /** Moves the momentum (for AdamW the first beta) opposite to the rate. Default true. */
  readonly cycleMomentum?: boolean;
  /** Default 0.85. */
  readonly baseMomentum?: number;
  /** Default 0.95. */
  readonly maxMomentum?: number;
  /** The run begins at the rate divided by this. Default 25. */
  readonly divFactor?: number;
  /** The run ends at its first rate divided by this. Default 1e4. */
  readonly finalDivFactor?: number;
}

const kinds: OptionKinds<OneCycleOptions> = {
  totalSteps: required(aNumber),
  pctStart: aNumber,
  annealStrategy: oneOf('cos', 'linear'),
  cycleMomentum: aBoolean,
  baseMomentum: aNumber,
  maxMomentum: aNumber,
  divFactor: aNumber,
  finalDivFactor: aNumber,
};

/**
 * PyTorch's two-phase OneCycleLR (Smith and Topin, 2017). The optimiser's own rate is the peak of the cycle, reached at
 * pctStart * totalSteps - 1.
 *
 * @throws TopKError INVALID_OPTION
 */
export function oneCycleSchedule(options: OneCycleOptions): Schedule {
  const given = readOptions('oneCycleSchedule', options, kinds);
  const { totalSteps, pctStart = 0.3, annealStrategy = 'cos', cycleMomentum = true } = given;
  const { baseMomentum = 0.85, maxMomentum = 0.95, divFactor = 25, finalDivFactor = 1e4 } = given;
  requireWhole('oneCycleSchedule', 'totalSteps', totalSteps, 2);
  if (!(pctStart >= 0 && pctStart <= 1)) {
    throw new TopKError('INVALID_OPTION', 'oneCycleSchedule: bad pctStart', {
      expected: 'a number from 0 to 1',
      got: String(pctStart),
    });
  }
  const turn = pctStart * totalSteps - 1;
  const end = totalSteps - 1;
  const first = 1 / divFactor;
  const last = first / finalDivFactor;
  const anneal = (from: number, to: number, done: number): number =>
    annealStrategy === 'cos'
      ? to + ((from - to) / 2) * (1 + Math.cos(Math.PI * done))
      : from + (to - from) * done;
  return (step) => {
    const rises = turn > 0 && step <= turn;
    const done = rises ? step / turn : Math.min(1, (step - turn) / (end - turn));
    return {
      rateFactor: rises ? anneal(first, 1, done) : anneal(1, last, done),
      ...(cycleMomentum && {
        momentum: rises ? anneal(maxMomentum, baseMomentum, done) : anneal(baseMomentum, maxMomentum, done),
      }),
    };
  };
}
