import {
  aBoolean,
  aNumber,
  type ElementwiseProgram,
  type Expression,
  elementwiseProgram,
  TopKError,
  terms,
} from '@topk-attention/core';
import { requireWithin } from '../../require.js';
import { type Optimizer, optimizerOf } from './optimizer.js';
import { type ProgramRule, scaledRate } from './rules.js';
import { type OptimizerOptions, readSettings } from './settings.js';

export interface SgdSettings {
  /** Default 1e-3. */
  readonly learningRate: number;
  /** Default 0: no buffer is kept. */
  readonly momentum: number;
  /** Part of the gradient that does not enter the buffer. Default 0. */
  readonly dampening: number;
  /** Added to the gradient, times the parameter. Default 0. */
  readonly weightDecay: number;
  /** Default false. */
  readonly nesterov: boolean;
}

export type SgdOptions = OptimizerOptions<SgdSettings>;

const kinds = {
  learningRate: aNumber,
  momentum: aNumber,
  dampening: aNumber,
  weightDecay: aNumber,
  nesterov: aBoolean,
};

/**
 * Stochastic gradient descent with PyTorch's semantics and defaults.
 *
 * @throws TopKError INVALID_OPTION
 */
export function sgd(options?: SgdOptions): Optimizer {
  const { settings, groups } = readSettings<SgdSettings>(
    'sgd',
    options,
    kinds,
    (given) => ({
      learningRate: 1e-3,
      momentum: 0,
      dampening: 0,
      weightDecay: 0,
      nesterov: false,
      ...given,
    }),
    ({ learningRate, momentum, dampening, weightDecay, nesterov }) => {
      requireWithin('sgd', 'learningRate', learningRate, 0);
      requireWithin('sgd', 'momentum', momentum, 0);
      requireWithin('sgd', 'weightDecay', weightDecay, 0);
      if (!nesterov || (momentum !== 0 && dampening === 0)) return;
      throw new TopKError('INVALID_OPTION', 'sgd: nesterov needs a momentum and no dampening', {
        expected: 'momentum above 0 and dampening 0',
        got: `momentum ${momentum}, dampening ${dampening}`,
      });
    },
  );
  return optimizerOf(sgdRule, settings, groups);
}

const sgdRule: ProgramRule<SgdSettings> = {
  name: 'sgd',
  slots: (shape, { momentum }) => (momentum === 0 ? {} : { momentum_buffer: shape }),
  learningRate: scaledRate,
  numbers: (settings, step, { rateFactor = 1, momentum = settings.momentum }) => [
    scaledRate(settings, step, rateFactor),
    momentum,
    // The first step takes the whole gradient, whatever the dampening, and nothing from the empty buffer.
    step === 1 ? 0 : momentum,
    step === 1 ? 1 : 1 - settings.dampening,
  ],
  programOf: sgdProgram,
};

function sgdProgram({ momentum, weightDecay, nesterov }: SgdSettings, isScaled: boolean): ElementwiseProgram {
  const { add, mul, sub } = terms;
  const slots = momentum === 0 ? [] : ['momentum_buffer'];
  return elementwiseProgram(
    {
      inputs: ['parameter', 'gradient', ...slots],
      numbers: ['rate', 'momentum', 'kept', 'fresh', ...(isScaled ? ['scale'] : [])],
    },
    (x): Record<string, Expression> => {
      const of = (input: string): Expression => x[input] as Expression;
      const parameter = of('parameter');
      const gradient = isScaled ? mul(of('gradient'), of('scale')) : of('gradient');
      const g = weightDecay === 0 ? gradient : add(gradient, mul(parameter, weightDecay));
      const moved = (direction: Expression): Expression => sub(parameter, mul(direction, of('rate')));
      if (momentum === 0) return { parameter: moved(g) };
      const buffer = add(mul(of('momentum_buffer'), of('kept')), mul(g, of('fresh')));
      return {
        parameter: moved(nesterov ? add(g, mul(buffer, of('momentum'))) : buffer),
        momentum_buffer: buffer,
      };
    },
  );
}
