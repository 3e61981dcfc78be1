import { aBoolean, add, aNumber, mul, sub, type Tensor, TopKError } from '@topk-attention/core';
import { type Optimizer, optimizerOf, type UpdateRule } from './optimizer.js';
import { type OptimizerOptions, readSettings, requireWithin } from './settings.js';

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
 * Stochastic gradient descent with PyTorch's meaning and defaults.
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

const sgdRule: UpdateRule<SgdSettings> = {
  name: 'sgd',
  slots: (shape, { momentum }) => (momentum === 0 ? {} : { momentum_buffer: shape }),
  scheduled: (settings, { rateFactor = 1, momentum = settings.momentum }) => ({
    ...settings,
    learningRate: settings.learningRate * rateFactor,
    // Without a momentum of its own it has no buffer.
    momentum: settings.momentum === 0 ? 0 : momentum,
  }),
  update: (
    parameter,
    gradient,
    slots,
    { learningRate, momentum, dampening, weightDecay, nesterov },
    step,
    scalar,
  ) => {
    const g = weightDecay === 0 ? gradient : add(gradient, mul(parameter, weightDecay));
    const before = slots.momentum_buffer;
    if (before === undefined) return { parameter: sub(parameter, mul(g, scalar(learningRate))), slots: {} };
    // The first step takes the whole gradient, whatever the dampening.
    const buffer: Tensor = step === 1 ? g : add(mul(before, scalar(momentum)), mul(g, 1 - dampening));
    const direction = nesterov ? add(g, mul(buffer, scalar(momentum))) : buffer;
    return {
      parameter: sub(parameter, mul(direction, scalar(learningRate))),
      slots: { momentum_buffer: buffer },
    };
  },
};
