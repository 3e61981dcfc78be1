import { expect, test } from 'vitest';
import { packageVersion } from '../../src/node/package-version.js';

test('the version in package.json', () => {
  expect(packageVersion(new URL('../../package.json', import.meta.url))).toMatch(/^\d+\.\d+\.\d+$/);
});
