import { type Backend, dropout, mul, type StepSeeds, type Tensor, tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { expect, test } from 'vitest';
import { type Job, measure } from '../../src/bench/measure.js';

/** The reference, with recordings whose replays run the function again on the values of the time. */
function recordingBackend(): Backend {
  const backend: Backend = createReferenceBackend();
  const record: Backend['record'] = (inputs, _count, body) => {
    // What the function is given is its own to dispose of.
    const run = (given: typeof inputs) => body(given.map((one) => backend.reshape(one, one.shape))).results;
    return { outputs: run(inputs), work: { bytes: 0, replay: run, dispose: () => {} } };
  };
  return Object.assign(backend, { record });
}

function job(apply: (x: Tensor, seeds: StepSeeds) => Tensor): Job {
  return {
    ...{ way: 'mine', x: 2, direction: 'forward + backward', isRecorded: true },
    make: (backend) => ({
      tensors: { x: tensor(backend, [1, 2]) },
      apply: ({ x }, seeds) => apply(x!, seeds),
    }),
  };
}

test('a recorded pass is replayed where the backend can, with the seeds of training, and says so', async () => {
  const dropped = job((x, seeds) => dropout(mul(x, x), { rate: 0.5, seed: seeds('dropout') }));
  const row = await measure(recordingBackend(), dropped, 2);
  expect(row).toMatchObject({ way: 'mine', x: 2, isRecorded: true, milliseconds: expect.any(Number) });
  expect(await measure(createReferenceBackend(), dropped, 2)).not.toHaveProperty('isRecorded');
  expect(await measure(recordingBackend(), { ...dropped, isRecorded: false }, 2)).not.toHaveProperty(
    'isRecorded',
  );
});

test('each round is one pass', async () => {
  let calls = 0;
  const counted = job((x) => {
    calls++;
    return mul(x, x);
  });
  await measure(createReferenceBackend(), { ...counted, isRecorded: false }, 3);
  expect(calls).toBe(4);
  calls = 0;
  // Called, recorded, replayed once; then the rounds.
  await measure(recordingBackend(), counted, 3);
  expect(calls).toBe(6);
});
