import type { Activation } from '@topk-attention/core';

/** The error function by its series of positive terms, 2 / sqrt(pi) e^(-x^2) sum 2^n x^(2n+1) / (2n+1)!!. */
function errorFunction(x: number): number {
  if (Number.isNaN(x)) return x;
  if (Math.abs(x) > 6) return Math.sign(x);
  let [sum, term] = [0, x];
  for (let n = 1; n < 200; n++) {
    sum += term;
    term *= (2 * x * x) / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

/** x times the share of it that passes, and the derivative, in f64. */
export function activated(activation: Activation, x: number): readonly [value: number, slope: number] {
  const share = (gate: number, slope: number): readonly [number, number] => [x * gate, gate + x * slope];
  switch (activation) {
    case 'relu':
      return Number.isNaN(x) ? [x, x] : x > 0 ? [x, 1] : [0, 0];
    case 'gelu':
      return share((1 + errorFunction(x / Math.SQRT2)) / 2, Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI));
    case 'gelu_tanh': {
      const root = Math.sqrt(2 / Math.PI);
      const t = Math.tanh(root * (x + 0.044715 * x ** 3));
      return share((1 + t) / 2, ((1 - t * t) / 2) * root * (1 + 3 * 0.044715 * x * x));
    }
    case 'silu': {
      const gate = 1 / (1 + Math.exp(-x));
      return share(gate, gate * (1 - gate));
    }
    default:
      return activation satisfies never;
  }
}
