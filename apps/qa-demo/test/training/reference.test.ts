import { runConformance, trainingCases } from '@topk-attention/conformance';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { adafactor, adam, adamW, sgd } from '@topk-attention/nn';
import { expect, test } from 'vitest';
import { testTraining } from './support.js';

await testTraining({ name: 'reference', createBackend: () => createReferenceBackend() });
await testTraining({
  name: 'reference, f64',
  createBackend: () => createReferenceBackend({ floatStorage: 'f64' }),
});

test('an optimiser that is slightly wrong fails, and no other', async () => {
  const wrong = (options: object) => adam({ ...options, betas: [0.89, 0.999] });
  const cases = await trainingCases({ adafactor, adam: wrong, adamW, sgd }, { steps: 5 });
  const reports = await runConformance(
    { name: 'reference', createBackend: () => createReferenceBackend() },
    cases,
  );
  const failed = reports.filter(({ outcome }) => outcome === 'failed').map(({ name }) => name);
  expect(failed).toHaveLength(3);
  for (const name of failed) expect(name).toMatch(/: adam(,|$)/);
});
