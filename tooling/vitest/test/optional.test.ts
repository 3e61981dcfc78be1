import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { isRequired } from '../src/index.ts';

/** Runs the fixture in a vitest of its own. */
function runFixture(environment: Record<string, string>): { status: number | null; output: string } {
  const manifest = createRequire(import.meta.url).resolve('vitest/package.json');
  const { bin } = JSON.parse(readFileSync(manifest, 'utf8')) as { bin: { vitest: string } };
  const root = fileURLToPath(new URL('fixtures', import.meta.url));
  const reporters = ['--reporter', 'verbose', '--reporter', '../../src/summary-reporter.ts'];
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(dirname(manifest), bin.vitest), 'run', ...reporters],
    { encoding: 'utf8', cwd: root, env: { ...process.env, NO_COLOR: '1', ...environment } },
  );
  return { status, output: stdout + stderr };
}

test('a test whose need is missing is skipped and listed by name with the reason', () => {
  const { status, output } = runFixture({});
  expect(status, output).toBe(0);
  expect(output).toContain('skipped here: fixture: needs what nobody has: mined out');
  expect(output).toContain('1 passed | 12 skipped');
});

test('a whole suite whose need is missing is listed by file and count', () => {
  const { output } = runFixture({});
  expect(output).toContain('skipped here: fixture: 11 tests of suite.fixture.ts: not even here');
  expect(output).not.toContain('skipped here: fixture: number 1');
});

test('the same test fails where its need is required', () => {
  const { status, output } = runFixture({ TOPK_REQUIRE_UNOBTAINIUM: '1' });
  expect(status, output).toBe(1);
  expect(output).toContain('TOPK_REQUIRE_UNOBTAINIUM is set, but unobtainium is missing: mined out');
});

test('a need is required only when its variable is set', () => {
  expect(isRequired('something-nobody-has')).toBe(false);
  process.env.TOPK_REQUIRE_SOMETHING_NOBODY_HAS = '1';
  expect(isRequired('something-nobody-has')).toBe(true);
  process.env.TOPK_REQUIRE_SOMETHING_NOBODY_HAS = '0';
  expect(isRequired('something-nobody-has')).toBe(false);
  delete process.env.TOPK_REQUIRE_SOMETHING_NOBODY_HAS;
});
