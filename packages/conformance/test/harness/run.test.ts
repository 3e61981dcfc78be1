import { type Backend, zeros } from '@topk-attention/core';
import { createReferenceBackend, type ReferenceTensor } from '@topk-attention/core/reference';
import { expect, test } from 'vitest';
import { ConformanceRun } from '../../src/harness/run.js';
import { conformanceCases, runConformance } from '../../src/index.js';

const cases = await conformanceCases();

function reference(): Backend<ReferenceTensor> {
  return createReferenceBackend({ fused: false });
}

test('an exclusion of a case that passes fails, and one of a case that does not exist too', async () => {
  const [first] = cases;
  const options = { name: 'reference', createBackend: reference };
  const dead = { name: first?.name ?? '', reason: 'mended long ago' };
  const reports = await runConformance({ ...options, exclusions: [dead] }, cases.slice(0, 2));
  expect(reports.map((report) => report.outcome).sort()).toEqual(['failed', 'passed']);
  expect(reports.find((report) => report.outcome === 'failed')?.message).toMatch(/mended long ago/);
  const unknown = { name: 'no such case', reason: '' };
  await expect(runConformance({ ...options, exclusions: [unknown] }, cases)).rejects.toThrow(/no such case/);
});

test('an excluded case that fails counts as excluded', async () => {
  const one = cases.find((candidate) => candidate.name.includes('index -1 wraps'));
  if (one === undefined) throw new Error('the case is gone');
  const good: Backend = reference();
  const broken = (): Backend => ({ ...good, gatherRows: (x) => good.reshape(x, x.shape) });
  const exclusions = [{ name: one.name, reason: 'test' }];
  const reports = await runConformance({ name: 'broken', createBackend: broken, exclusions }, [one]);
  expect(reports.map((report) => report.outcome)).toEqual(['excluded']);
});

test('the case after one that ran past its limit has a backend of its own', async () => {
  const made: Backend[] = [];
  const createBackend = (): Backend => {
    const backend = reference();
    made.push(backend);
    return backend;
  };
  const run = await ConformanceRun.start({ name: 'slow', createBackend });
  let finish = (): void => {};
  const slow = run.run({
    name: 'slow one',
    group: 'attention',
    run: ({ backend }) =>
      new Promise<void>((resolve) => {
        const left = zeros(backend, [8]);
        finish = () => {
          left.dispose();
          resolve();
        };
      }),
  });
  const used: Backend[] = [];
  await run.run({ name: 'next one', group: 'attention', run: ({ backend }) => void used.push(backend) });
  expect(used).toEqual([made[1]]);
  finish();
  await slow;
  await run.dispose();
});
