import { type Backend, sizeOf, tensor } from '@topk-attention/core';
import type { ParameterTree } from '@topk-attention/nn';
import { randomBelow } from '@topk-attention/vitest-preset/random';
import { parseT5Config, type T5Config, t5ParameterSpecs } from '../../src/index.js';

/** A T5 of a few hundred weights. */
export function tinyConfig(changes: { readonly [key: string]: unknown } = {}): T5Config {
  return parseT5Config(
    JSON.stringify({
      model_type: 't5',
      vocab_size: 11,
      d_model: 6,
      d_kv: 3,
      d_ff: 8,
      num_layers: 2,
      num_heads: 2,
      relative_attention_num_buckets: 8,
      relative_attention_max_distance: 16,
      dropout_rate: 0,
      ...changes,
    }),
  );
}

/** Random parameters in [-0.5, 0.5), norms around 1. */
export function tinyParameters(backend: Backend, config: T5Config, seed = 1): ParameterTree {
  const random = randomBelow(seed);
  const number = (): number => random(1_000_000) / 1_000_000 - 0.5;
  return Object.fromEntries(
    t5ParameterSpecs(config).map(({ name, shape, transposed }) => {
      const middle = name.includes('norm') ? 1 : 0;
      const values = Float64Array.from({ length: sizeOf(shape) }, () => middle + number());
      return [name, tensor(backend, values, transposed ? [...shape].reverse() : shape)];
    }),
  );
}

/** A small batch with padding. */
export const tinyInputs = {
  sources: [
    [5, 3, 9, 2, 1],
    [7, 1, 0, 0, 0],
  ],
  sourceLengths: [5, 2],
  targets: [
    [0, 4, 8, 2],
    [0, 6, 3, 10],
  ],
};
