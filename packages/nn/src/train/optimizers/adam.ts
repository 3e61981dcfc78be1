import {
  aBoolean,
  aNumber,
  aValue,
  type ElementwiseProgram,
  type Expression,
  elementwiseProgram,
  terms,
} from '@topk-attention/core';
import { requireWithin } from '../../require.js';
import { type Optimizer, optimizerOf } from './optimizer.js';
import { type ProgramRule, scaledRate } from './rules.js';
import { type OptimizerOptions, readSettings } from './settings.js';

export interface AdamSettings {
  /** Default 1e-3. */
  readonly learningRate: number;
  /** Decay of the averages of the gradient and of its square. Default [0.9, 0.999]. */
  readonly betas: readonly [number, number];
  /** Added to the root of the second average, after its bias is corrected. Default 1e-8. */
  readonly epsilon: number;
  /** Default 0.01 for AdamW, 0 for Adam. */
  readonly weightDecay: number;
  /** Divides by the largest second average so far. Default false. */
  readonly amsgrad: boolean;
}

export type AdamOptions = OptimizerOptions<AdamSettings>;

const kinds = {
  learningRate: aNumber,
  betas: aValue<readonly [number, number]>(
    'two numbers',
    (value) => Array.isArray(value) && value.length === 2,
  ),
  epsilon: aNumber,
  weightDecay: aNumber,
  amsgrad: aBoolean,
};

/**
 * AdamW (Loshchilov and Hutter, 2019) with PyTorch's semantics and defaults: weights decay by learningRate *
 * weightDecay of themselves, independently of the gradient.
 *
 * @throws TopKError INVALID_OPTION
 *
 * @example
 * const parameters = { 'proj.weight': tensor(backend, [1, 2, 3, 4], [2, 2]), 'proj.bias': tensor(backend, [0, 0]) };
 * const optimizer = adamW({ learningRate: 3e-4, groups: [noDecay()] });
 * const state = optimizer.init(parameters);
 * const gradients = { 'proj.weight': tensor(backend, [1, 1, -1, -1], [2, 2]) };
 * const next = optimizer.step(parameters, gradients, state, { rateFactor: 0.5 });
 */
export function adamW(options?: AdamOptions): Optimizer {
  return adamFamily('adamW', 0.01, true, options);
}

/**
 * Adam (Kingma and Ba, 2015) with PyTorch's semantics and defaults: weightDecay * parameter is added to the gradient.
 *
 * @throws TopKError INVALID_OPTION
 */
export function adam(options?: AdamOptions): Optimizer {
  return adamFamily('adam', 0, false, options);
}

function adamFamily(
  name: string,
  defaultDecay: number,
  isDecoupled: boolean,
  options: AdamOptions | undefined,
): Optimizer {
  const { settings, groups } = readSettings<AdamSettings>(
    name,
    options,
    kinds,
    (given) => ({
      learningRate: 1e-3,
      betas: [0.9, 0.999],
      epsilon: 1e-8,
      weightDecay: defaultDecay,
      amsgrad: false,
      ...given,
    }),
    ({ learningRate, betas, epsilon, weightDecay }) => {
      requireWithin(name, 'learningRate', learningRate, 0);
      for (const beta of betas) requireWithin(name, 'betas', beta, 0, 1);
      requireWithin(name, 'epsilon', epsilon, 0);
      requireWithin(name, 'weightDecay', weightDecay, 0);
    },
  );
  return optimizerOf(adamRule(name, isDecoupled), settings, groups);
}

function adamRule(name: string, isDecoupled: boolean): ProgramRule<AdamSettings> {
  return {
    name,
    slots: (shape, { amsgrad }) => ({
      exp_avg: shape,
      exp_avg_sq: shape,
      ...(amsgrad && { max_exp_avg_sq: shape }),
    }),
    learningRate: scaledRate,
    numbers: (settings, step, { rateFactor = 1, momentum = settings.betas[0] }) => {
      const { betas, weightDecay } = settings;
      const rate = scaledRate(settings, step, rateFactor);
      // Corrects for averages starting at 0, using this step's beta whatever earlier steps used, as in PyTorch.
      const corrected = rate / (1 - momentum ** step);
      return [1 - rate * weightDecay, momentum, 1 - momentum, corrected, 1 / Math.sqrt(1 - betas[1] ** step)];
    },
    programOf: (settings, isScaled) => adamProgram(isDecoupled, settings, isScaled),
  };
}

function adamProgram(
  isDecoupled: boolean,
  { betas, epsilon, weightDecay, amsgrad }: AdamSettings,
  isScaled: boolean,
): ElementwiseProgram {
  const { add, div, max, mul, sqrt, sub } = terms;
  const slots = ['exp_avg', 'exp_avg_sq', ...(amsgrad ? ['max_exp_avg_sq'] : [])];
  return elementwiseProgram(
    {
      inputs: ['parameter', 'gradient', ...slots],
      numbers: ['kept', 'beta', 'fresh', 'rate', 'root', ...(isScaled ? ['scale'] : [])],
    },
    (x) => {
      const of = (input: string): Expression => x[input] as Expression;
      const parameter = of('parameter');
      const gradient = isScaled ? mul(of('gradient'), of('scale')) : of('gradient');
      const hasDecay = weightDecay !== 0;
      const decayed = isDecoupled && hasDecay ? mul(parameter, of('kept')) : parameter;
      const g = !isDecoupled && hasDecay ? add(gradient, mul(parameter, weightDecay)) : gradient;
      const mean = add(mul(of('exp_avg'), of('beta')), mul(g, of('fresh')));
      const square = add(mul(of('exp_avg_sq'), betas[1]), mul(mul(g, g), 1 - betas[1]));
      const largest = amsgrad ? max(of('max_exp_avg_sq'), square) : square;
      const update = mul(div(mean, add(mul(sqrt(largest), of('root')), epsilon)), of('rate'));
      const outputs: Record<string, Expression> = {
        parameter: sub(decayed, update),
        exp_avg: mean,
        exp_avg_sq: square,
      };
      if (amsgrad) outputs.max_exp_avg_sq = largest;
      return outputs;
    },
  );
}
