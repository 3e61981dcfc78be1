import { createReferenceBackend } from '@topk-attention/core/reference';
import { expect, test } from 'vitest';
import { createT5 } from '../../src/index.js';
import { errorOf } from '../support/errors.js';
import { failingBackend } from '../support/failing-backend.js';
import { tinyConfig, tinyParameters } from '../support/tiny.js';

test('whichever call of the backend fails, nothing stays on it', async () => {
  const failing = failingBackend(createReferenceBackend({ fused: false }));
  const { backend } = failing;
  const config = tinyConfig({ num_layers: 1, num_decoder_layers: 2 });
  const model = createT5(config, tinyParameters(backend, config));
  const sources = [[5, 3, 9, 1], [7]];
  const generate = () => model.generateBatch(sources, { maxNewTokens: 1 });
  failing.calls = 0;
  await generate();
  const { calls } = failing;
  expect(calls).toBeGreaterThan(100);
  const leaks: string[] = [];
  for (let at = 1; at <= calls; at++) {
    failing.calls = 0;
    failing.failAt = at;
    const { live } = backend.memory();
    const { message } = await errorOf(generate());
    const left = backend.memory().live - live;
    if (left !== 0) leaks.push(`${left} bytes: ${message}`);
  }
  expect(leaks).toEqual([]);
  model.dispose();
});
