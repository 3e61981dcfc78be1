import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';

const folder = mkdtempSync(join(tmpdir(), 'topk-totals-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** @param {object} [report] */
function totals(report) {
  const file = join(folder, 'report.json');
  rmSync(file, { force: true });
  if (report) writeFileSync(file, JSON.stringify(report));
  const script = fileURLToPath(new URL('../../scripts/totals.mjs', import.meta.url));
  const { status, stdout } = spawnSync(process.execPath, [script, file], { encoding: 'utf8' });
  const lines = stdout.trimEnd().split('\n');
  return { status, before: lines.slice(0, -1), last: lines.at(-1) };
}

const good = {
  success: true,
  numPassedTests: 3,
  numFailedTests: 0,
  numPendingTests: 0,
  numTodoTests: 0,
  testResults: [{ name: 'good.test.ts', status: 'passed', assertionResults: [{ status: 'passed' }] }],
};

test.each([
  ['all passed', good, 0, '3 passed, 0 failed'],
  ['one skipped', { ...good, numPendingTests: 1 }, 0, '3 passed, 0 failed, 1 skipped'],
  ['one failed', { ...good, success: false, numFailedTests: 1 }, 1, '3 passed, 1 failed'],
  [
    'a file did not load',
    { ...good, testResults: [{ name: 'bad.test.ts', status: 'failed', assertionResults: [] }] },
    1,
    '3 passed, 1 failed',
  ],
  ['an error outside the tests', { ...good, success: false }, 1, '3 passed, 0 failed'],
  ['nothing ran', { ...good, numPassedTests: 0, testResults: [] }, 1, '0 passed, 0 failed'],
  ['no report', undefined, 1, '0 passed, 1 failed'],
])('totals: %s', (_, report, status, last) => {
  expect(totals(report)).toMatchObject({ status, last });
});

test('totals: failed tests are named with the head of their message, files that did not load too', () => {
  const failed = {
    status: 'failed',
    fullName: 'sums > of rows',
    failureMessages: [
      'AssertionError: expected 1 to be 2\n\n- 2\n+ 1\n    at a.test.ts:3:1\n    at b.ts:1:1',
    ],
  };
  const { before } = totals({
    ...good,
    success: false,
    numFailedTests: 1,
    testResults: [
      ...good.testResults,
      { name: resolve('packages/a.test.ts'), status: 'failed', message: '', assertionResults: [failed] },
      { name: resolve('b.test.ts'), status: 'failed', message: 'no such module', assertionResults: [] },
    ],
  });
  expect(before).toEqual([
    'failed: packages/a.test.ts > sums > of rows',
    '  AssertionError: expected 1 to be 2',
    '  - 2',
    '  + 1',
    '      at a.test.ts:3:1',
    'failed: b.test.ts',
    '  no such module',
  ]);
});
