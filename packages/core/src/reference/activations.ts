import type { Activation } from '../contract/feed-forward.js';
import { erf } from './erf.js';

interface ActivationFunction {
  readonly value: (x: number) => number;
  readonly derivative: (x: number) => number;
}

const GELU_TANH_SCALE = Math.sqrt(2 / Math.PI);
const GELU_TANH_CUBIC = 0.044715;

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
const normalDensity = (x: number): number => Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
const normalProbability = (x: number): number => 0.5 * (1 + erf(x / Math.SQRT2));

/** Activation functions of the feed-forward layer with their derivatives; relu's derivative at 0 is 0. */
export const activationFunctions: Readonly<Record<Activation, ActivationFunction>> = {
  relu: { value: (x) => Math.max(x, 0), derivative: (x) => (x > 0 ? 1 : x <= 0 ? 0 : Number.NaN) },
  gelu: {
    value: (x) => x * normalProbability(x),
    derivative: (x) => normalProbability(x) + x * normalDensity(x),
  },
  gelu_tanh: {
    value: (x) => 0.5 * x * (1 + Math.tanh(GELU_TANH_SCALE * (x + GELU_TANH_CUBIC * x ** 3))),
    derivative: (x) => {
      const t = Math.tanh(GELU_TANH_SCALE * (x + GELU_TANH_CUBIC * x ** 3));
      return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * GELU_TANH_SCALE * (1 + 3 * GELU_TANH_CUBIC * x * x);
    },
  },
  silu: {
    value: (x) => x * sigmoid(x),
    derivative: (x) => sigmoid(x) * (1 + x * (1 - sigmoid(x))),
  },
};
