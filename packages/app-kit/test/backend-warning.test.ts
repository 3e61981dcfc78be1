import { expect, test } from 'vitest';
import { backendWarning } from '../src/backend-warning.js';

test("one warning: the backend's own, or that it stands in for another", () => {
  const info = { backend: 'reference', description: 'the reference backend' } as const;
  expect(backendWarning(info)).toBeUndefined();
  expect(backendWarning({ ...info, fallback: 'not installed' })).toMatch(
    /slow reference .*\(not installed\)$/,
  );
  expect(backendWarning({ ...info, fallback: 'not installed', warning: 'software' })).toBe(
    'Warning: software',
  );
});
