import type { Shape } from './shape.js';

/**
 * A step of Adafactor (Shazeer and Stern, 2018) for several parameters p with gradients g, after g is multiplied by `scale`,
 * if given. All means are of one parameter:
 *
 * - s = g² + epsilons[0]. A vector averages s itself; a matrix its means over columns, R [n], and over rows, C [m]. Averages
 *   are old * numbers[0] + fresh * numbers[1].
 * - u = g / sqrt(average), of a matrix g / (sqrt(R / mean(R)) * sqrt(C)).
 * - rate = numbers[2], with `scaleParameter` times max(rms(p), epsilons[1]).
 * - update = rate * u / max(1, rms(u) / clipThreshold); with `beta1` averaged over steps.
 * - p - rate * weightDecay * p - update.
 */
export interface AdafactorRequest {
  /** Of each parameter. More than two axes: matrices side by side. */
  readonly shapes: readonly Shape[];
  readonly epsilons: readonly [number, number];
  readonly clipThreshold: number;
  readonly beta1?: number;
  readonly weightDecay: number;
  readonly scaleParameter: boolean;
  readonly saves?: boolean;
}

/**
 * f32: of parameter i `i:parameter`, `i:gradient`, `i:exp_avg_sq` or, from two axes on, `i:exp_avg_sq_row` [..., n] and
 * `i:exp_avg_sq_col` [..., m], and with `beta1` `i:exp_avg`; shared by all `numbers` [3 or more] and `scale` [].
 */
export type AdafactorInputs<T> = { readonly [name: string]: T };

/** `i:parameter` and its averages, under their names. */
export type AdafactorOutputs<T> = { readonly [name: string]: T };
