import { join } from 'node:path';
import { expect, test } from 'vitest';
import { shownPath } from '../../src/node/shown-path.js';

test('short below the current folder, whole elsewhere', () => {
  expect(shownPath(join(process.cwd(), 'a', 'b.txt'))).toBe(join('a', 'b.txt'));
  const above = join(process.cwd(), '..', 'c.txt');
  expect(shownPath(above)).toBe(above);
});
