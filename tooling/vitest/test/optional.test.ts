import { expect, test } from 'vitest';
import { isRequired } from '../src/index.ts';
import { runFixture } from './run-fixture.ts';

test('a test whose need is missing is skipped and listed by name with the reason, a whole suite by file', () => {
  const { status, output } = runFixture({ TOPK_REQUIRE_THOROUGH: '' }, ['fixture.ts']);
  expect(status, output).toBe(0);
  expect(output).toContain('skipped here: fixture: needs what nobody has: mined out');
  expect(output).toContain('1 passed | 13 skipped');
  expect(output).toContain('skipped here: fixture: 11 tests of suite.fixture.ts: not even here');
  expect(output).not.toContain('skipped here: fixture: number 1');
});

test('the same test fails where its need is required', () => {
  const { status, output } = runFixture({ TOPK_REQUIRE_UNOBTAINIUM: '1' }, ['fixture.ts']);
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
