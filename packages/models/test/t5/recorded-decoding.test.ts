import { createReferenceBackend } from '@topk-attention/core/reference';
import { expect, test } from 'vitest';
import { createT5, type GenerateOptions } from '../../src/index.js';
import { keepsNothing } from '../support/memory.js';
import { recordingBackend } from '../support/recording-backend.js';
import { tinyConfig, tinyParameters } from '../support/tiny.js';

const config = { ...tinyConfig(), eosIds: [] };
const sources = [
  [5, 3, 9, 2, 1],
  [7, 1],
];

const calls: Readonly<Record<string, GenerateOptions>> = {
  'exact attention': {},
  'top-k attention and feed-forward': {
    attention: { k: 3 },
    crossAttention: { k: 2 },
    feedForward: { k: 4 },
  },
};

for (const [name, options] of Object.entries(calls)) {
  test(`recorded steps give the tokens of steps that are called: ${name}`, async () => {
    const plain = createReferenceBackend();
    const called = createT5(config, tinyParameters(plain, config));
    const { backend, counts } = recordingBackend(createReferenceBackend());
    const recorded = createT5(config, tinyParameters(backend, config));
    // More tokens than the caches first hold, so that they grow.
    const call = { ...options, maxNewTokens: 140 };
    const expected = await called.generateBatch(sources, call);
    const got = await keepsNothing(backend, () => recorded.generateBatch(sources, call));
    expect(got.map(({ ids }) => ids)).toEqual(expected.map(({ ids }) => ids));
    for (const [row, { logits }] of got.entries()) {
      for (const [at, logit] of logits.entries())
        expect(logit).toBeCloseTo(expected[row]?.logits[at] ?? Number.NaN, 4);
    }
    // All but two for each of the two capacities.
    expect(counts.replays).toBe(140 - 4);
    called.dispose();
    recorded.dispose();
    expect(backend.memory().live).toBe(0);
  });
}

test('hooks and functions are called for every token', async () => {
  const { backend, counts } = recordingBackend(createReferenceBackend());
  const model = createT5(config, tinyParameters(backend, config));
  let calls = 0;
  const onResidual = (): void => {
    calls++;
  };
  await model.generate([5, 3, 1], { maxNewTokens: 6, trace: { onResidual } });
  expect(calls).toBeGreaterThanOrEqual(6 * config.decoderLayers);
  expect(counts.replays).toBe(0);
  model.dispose();
});
