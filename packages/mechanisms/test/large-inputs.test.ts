import { type Tensor, tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { attentionLayer, contextOf, initialize, type Mechanism, performer } from '@topk-attention/nn';
import { expect, test } from 'vitest';
import {
  causalLuna,
  entmaxAttention,
  fastmax,
  relativeKernel,
  rfa,
  sbm,
  sigmoidAttention,
  simpleTron,
  soft,
  sparsefinder,
  trainableKernel,
} from '../src/index.js';

const backend = createReferenceBackend();
const tokens = 16;
const width = 8;

/** Numbers of the layer's output that are not finite, for inputs of a size; and whether any is NaN. */
async function lostAt(
  mechanism: Mechanism,
  size: number,
  causal: boolean,
): Promise<{ lost: number; isNaN: boolean }> {
  const layer = attentionLayer({ width, heads: 2, mechanism, causal });
  const values = Float32Array.from({ length: tokens * width }, (_, at) => size * Math.sin(1 + at * at));
  const x: Tensor = tensor(backend, values, [1, tokens, width]);
  const output = await layer.apply(contextOf(initialize(backend, layer, 3)), x).data();
  return { lost: output.filter((one) => !Number.isFinite(one)).length, isNaN: output.some(Number.isNaN) };
}

const all: readonly (readonly [string, Mechanism, boolean])[] = [
  ['performer', performer({ features: 16 }), false],
  ['performer, causal', performer({ features: 16 }), true],
  ['sigmoidAttention', sigmoidAttention(), false],
  ['entmaxAttention', entmaxAttention(), false],
  ['fastmax', fastmax(), false],
  ['fastmax, direct', fastmax({ form: 'direct' }), false],
  ['rfa', rfa({ features: 16 }), false],
  ['rfa with a gate', rfa({ features: 16, gate: true }), true],
  ['trainableKernel', trainableKernel(), false],
  ['simpleTron', simpleTron(), false],
  ['relativeKernel', relativeKernel({ length: tokens, features: 16 }), false],
  ['soft', soft({ landmarks: 4 }), false],
  ['soft, normalised', soft({ landmarks: 4, normalise: true }), false],
  ['sbm', sbm({ edges: 8 }), false],
  ['sparsefinder', sparsefinder({ edges: 8 }), false],
  ['causalLuna', causalLuna({ memory: 4 }), true],
];

test.each(all)('%s is finite for inputs up to 1e6', async (_, mechanism, causal) => {
  for (const size of [1e3, 1e6])
    expect(await lostAt(mechanism, size, causal)).toEqual({ lost: 0, isNaN: false });
});

/** Whose features are bounded whatever the inputs. */
const bounded = /^(performer|fastmax|rfa|relativeKernel)/;

test.each(all)('%s at 1e20 is finite, or NaN and not only infinite', async (name, mechanism, causal) => {
  const { isNaN, lost } = await lostAt(mechanism, 1e20, causal);
  if (bounded.test(name)) expect(lost).toBe(0);
  else expect(isNaN).toBe(true);
});
