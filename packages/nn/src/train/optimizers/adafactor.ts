import { aBoolean, aNumber, aValue, TopKError } from '@topk-attention/core';
import { requirePositive, requireWithin } from '../../require.js';
import { adafactorSlots, adafactorUpdate } from './adafactor-update.js';
import { type Optimizer, optimizerOf } from './optimizer.js';
import type { UpdateRule } from './rules.js';
import { type OptimizerOptions, readSettings } from './settings.js';

export interface AdafactorSettings {
  /** Needs `relativeStep: false`. Default: the rate depends only on the step counts. */
  readonly learningRate?: number;
  /** Added to the squared gradient, and the minimum root mean square of a parameter. Default [1e-30, 1e-3]. */
  readonly epsilons: readonly [number, number];
  /** Largest root mean square of an update, before the rate is applied. Default 1. */
  readonly clipThreshold: number;
  /** The average of squares decays by 1 - step ** decayRate. Default -0.8. */
  readonly decayRate: number;
  /** First beta. Default: none, so no average of the gradient is kept. */
  readonly beta1?: number;
  /** Default 0. */
  readonly weightDecay: number;
  /** Multiplies the rate by the root mean square of the parameter. Default true. */
  readonly scaleParameter: boolean;
  /** The rate is min(1e-2, 1 / sqrt(step)). Default: true if there is no learning rate. */
  readonly relativeStep: boolean;
  /** With relativeStep: min(1e-6 * step, 1 / sqrt(step)). Default false. */
  readonly warmupInit: boolean;
}

export type AdafactorOptions = OptimizerOptions<AdafactorSettings>;

const kinds = {
  learningRate: aNumber,
  epsilons: aValue<readonly [number, number]>(
    'two numbers',
    (value) => Array.isArray(value) && value.length === 2,
  ),
  clipThreshold: aNumber,
  decayRate: aNumber,
  beta1: aNumber,
  weightDecay: aNumber,
  scaleParameter: aBoolean,
  relativeStep: aBoolean,
  warmupInit: aBoolean,
};

/**
 * Adafactor (Shazeer and Stern, 2018) as in Hugging Face's transformers: keeps second averages of a matrix by row and
 * by column, so that the state of [n, m] is n + m numbers. For fine-tuning a T5 use `{ learningRate: 1e-3,
 * relativeStep: false, scaleParameter: false }` and no gradient norm clipping.
 *
 * @throws TopKError INVALID_OPTION
 */
export function adafactor(options?: AdafactorOptions): Optimizer {
  const { settings, groups } = readSettings<AdafactorSettings>(
    'adafactor',
    options,
    kinds,
    (given) => ({
      epsilons: [1e-30, 1e-3],
      clipThreshold: 1,
      decayRate: -0.8,
      weightDecay: 0,
      scaleParameter: true,
      relativeStep: given.learningRate === undefined,
      warmupInit: false,
      ...given,
    }),
    checkSettings,
  );
  return optimizerOf(adafactorRule, settings, groups);
}

function checkSettings({
  learningRate,
  epsilons,
  clipThreshold,
  decayRate,
  beta1,
  weightDecay,
  relativeStep,
  warmupInit,
}: AdafactorSettings): void {
  if (relativeStep === (learningRate !== undefined)) {
    throw new TopKError('INVALID_OPTION', 'adafactor: either a learning rate or relative steps', {
      expected: 'learningRate with relativeStep: false, or neither',
      got: `learningRate ${learningRate}, relativeStep ${relativeStep}`,
    });
  }
  if (warmupInit && !relativeStep) {
    throw new TopKError('INVALID_OPTION', 'adafactor: warmupInit needs relativeStep', {
      expected: 'relativeStep: true',
      got: 'false',
    });
  }
  requireWithin('adafactor', 'learningRate', learningRate ?? 0, 0);
  for (const epsilon of epsilons) requireWithin('adafactor', 'epsilons', epsilon, 0);
  requirePositive('adafactor', 'clipThreshold', clipThreshold);
  // Otherwise the average of squares would be negative from the second step on.
  if (!(decayRate <= 0)) {
    throw new TopKError('INVALID_OPTION', 'adafactor: bad decayRate', {
      expected: 'at most 0',
      got: String(decayRate),
    });
  }
  requireWithin('adafactor', 'weightDecay', weightDecay, 0);
  requireWithin('adafactor', 'beta1', beta1 ?? 0, 0, 1);
}

const adafactorRule: UpdateRule<AdafactorSettings> = {
  name: 'adafactor',
  slots: adafactorSlots,
  learningRate: ({ learningRate = 1, relativeStep, warmupInit }, step, rateFactor) => {
    const largest = warmupInit ? 1e-6 * step : 1e-2;
    return relativeStep ? Math.min(largest, 1 / Math.sqrt(step)) : learningRate * rateFactor;
  },
  // The paper has no momentum for a schedule to change.
  numbers: (settings, step, { rateFactor = 1 }) => {
    const decay = 1 - step ** settings.decayRate;
    return [decay, 1 - decay, adafactorRule.learningRate(settings, step, rateFactor)];
  },
  updateOf: adafactorUpdate,
};
