import { expect, test } from 'vitest';
import { isRequired } from '../src/index.ts';

test('a need is required only when its variable is set', () => {
  expect(isRequired('something-nobody-has')).toBe(false);
  process.env.TOPK_REQUIRE_SOMETHING_NOBODY_HAS = '1';
  expect(isRequired('something-nobody-has')).toBe(true);
  process.env.TOPK_REQUIRE_SOMETHING_NOBODY_HAS = '0';
  expect(isRequired('something-nobody-has')).toBe(false);
  delete process.env.TOPK_REQUIRE_SOMETHING_NOBODY_HAS;
});
