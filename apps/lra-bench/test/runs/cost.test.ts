import { mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { costOf, notePeakOfFailed } from '../../src/runs/cost.js';
import { openMetrics } from '../../src/runs/metrics.js';
import { addSession, readSessions } from '../../src/runs/run-folder.js';

const session = (from: number) => ({
  ...{ date: '2026-01-01', command: 'pnpm lra train', from, engine: 'mine', node: '20', system: 'linux' },
  version: '0.0.0',
});

test('a run that is resumed before its last test took what its earlier sessions took', () => {
  const folder = join(mkdtempSync(join(tmpdir(), 'lra-cost-')), 'run');
  mkdirSync(folder);
  addSession(folder, session(0));
  const journal = openMetrics(folder, 'mine');
  for (const [at, ms] of [90, 30, 40].entries()) journal.add({ step: 10 * at, step_ms: ms } as never);
  journal.add({ step: 20, eval_accuracy: 50, eval_loss: 1 } as never);
  journal.close();
  notePeakOfFailed(folder, () => 5000);
  addSession(folder, session(20));
  expect(costOf(folder, () => 700)).toEqual({ stepMs: 40, peakBytes: 5000, peakOf: 'device' });
  expect(readSessions(folder).map(({ peakBytes }) => peakBytes)).toEqual([5000, 700]);

  // Bytes of a process are not those of a device.
  addSession(folder, session(20));
  const { peakBytes, peakOf } = costOf(folder, undefined);
  expect(peakOf).toBe('process');
  expect(peakBytes).toBe(readSessions(folder).at(-1)?.peakBytes);
});

test('a peak that cannot be noted hides no error', () => {
  const folder = mkdtempSync(join(tmpdir(), 'lra-cost-'));
  addSession(folder, session(0));
  const lost = (): number => {
    throw new Error('the device is lost');
  };
  expect(() => notePeakOfFailed(folder, lost)).not.toThrow();
  expect(() => costOf(folder, lost)).toThrow('the device is lost');
  expect(readSessions(folder)[0]).not.toHaveProperty('peakBytes');
});
