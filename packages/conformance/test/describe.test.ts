import { fill, type Tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { expect, test } from 'vitest';
import { type ConformanceCase, describeConformance } from '../src/index.js';

/** The suite's tests as a runner gets them: to be called by hand. */
async function bodiesOf(cases: readonly ConformanceCase[]) {
  const bodies: (() => Promise<void>)[] = [];
  const ends: (() => Promise<void>)[] = [];
  await describeConformance({
    name: 'reference',
    createBackend: () => createReferenceBackend(),
    cases,
    runner: {
      describe: (_, body) => body(),
      test: (_, body) => bodies.push(body),
      afterAll: (body) => ends.push(body),
    },
  });
  return { bodies, end: async () => Promise.all(ends.map((body) => body())) };
}

test('a case that its runner gave up does not make the next one a leak', async () => {
  let finish: (() => void) | undefined;
  const held: Tensor[] = [];
  const slow: ConformanceCase = {
    group: 'lifecycle',
    name: 'slow',
    run: async ({ backend }) => {
      held.push(fill(backend, 1, [16]));
      await new Promise<void>((resolve) => {
        finish = resolve;
      });
    },
  };
  const quick: ConformanceCase = {
    group: 'lifecycle',
    name: 'quick',
    run: async ({ backend }) => {
      // Meanwhile the slow one goes on.
      for (const tensor of held.splice(0)) tensor.dispose();
      fill(backend, 1, [4]).dispose();
    },
  };
  const leaky: ConformanceCase = {
    group: 'lifecycle',
    name: 'leaky',
    run: async ({ backend }) => {
      fill(backend, 1, [4]);
    },
  };
  const { bodies, end } = await bodiesOf([slow, quick, leaky]);
  const [runSlow, runQuick, runLeaky] = bodies;
  const slowRun = runSlow?.();
  await runQuick?.();
  await expect(runLeaky?.()).rejects.toThrow('16 bytes live');
  finish?.();
  await slowRun;
  await end();
});
