import { aNumber, type OptionKinds, oneOf, readOptions } from '@topk-attention/core';
import { requireWhole, requireWithin } from '../../require.js';

export interface PlateauOptions {
  /** 'min' if less is better, as for a loss. Default 'min'. */
  readonly mode?: 'min' | 'max';
  /** Default 0.1. */
  readonly factor?: number;
  /** Evaluations without improvement to tolerate. Default 10. */
  readonly patience?: number;
  /** Relative improvement that a metric needs to count as better. Default 1e-4. */
  readonly threshold?: number;
  /** Evaluations after a reduction during which bad ones are not counted. Default 0. */
  readonly cooldown?: number;
}

/** Plain data: saved with a run. */
export interface PlateauState {
  readonly rateFactor: number;
  readonly best: number;
  readonly badEvaluations: number;
  readonly cooling: number;
}

export interface Plateau {
  init(): PlateauState;
  /** The state after an evaluation; its `rateFactor` applies to the following steps. */
  next(state: PlateauState, metric: number): PlateauState;
}

const kinds: OptionKinds<PlateauOptions> = {
  mode: oneOf('min', 'max'),
  factor: aNumber,
  patience: aNumber,
  threshold: aNumber,
  cooldown: aNumber,
};

/**
 * Lowers the rate when a metric stops improving (PyTorch's ReduceLROnPlateau with a relative threshold).
 *
 * @throws TopKError INVALID_OPTION, such as for a factor that is not below 1
 */
export function reduceOnPlateau(options?: PlateauOptions): Plateau {
  const given = readOptions('reduceOnPlateau', options, kinds);
  const { mode = 'min', factor = 0.1, patience = 10, threshold = 1e-4, cooldown = 0 } = given;
  requireWithin('reduceOnPlateau', 'factor', factor, 0, 1);
  requireWithin('reduceOnPlateau', 'threshold', threshold, 0);
  requireWhole('reduceOnPlateau', 'patience', patience, 0);
  requireWhole('reduceOnPlateau', 'cooldown', cooldown, 0);
  const isBetter = (metric: number, best: number): boolean =>
    mode === 'min' ? metric < best * (1 - threshold) : metric > best * (1 + threshold);
  return {
    init: () => ({
      rateFactor: 1,
      best: mode === 'min' ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY,
      badEvaluations: 0,
      cooling: 0,
    }),
    next: ({ rateFactor, best, badEvaluations, cooling }, metric) => {
      const better = isBetter(metric, best);
      const left = Math.max(0, cooling - 1);
      // While it cools down, nothing counts as bad.
      const bad = better || cooling > 0 ? 0 : badEvaluations + 1;
      const falls = bad > patience;
      return {
        rateFactor: falls ? rateFactor * factor : rateFactor,
        best: better ? metric : best,
        badEvaluations: falls ? 0 : bad,
        cooling: falls ? cooldown : left,
      };
    },
  };
}
