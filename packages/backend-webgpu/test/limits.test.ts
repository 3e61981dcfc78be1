import { expect, test } from 'vitest';
import { limitsOf } from '../src/limits.js';
import { PLAIN } from './support/recording.js';

test.each([
  ['default bindings', { bindingBytes: 2 ** 27 }, undefined],
  ['large bindings', { bindingBytes: 2 ** 31 - 4 }, 2 ** 29],
  ['large bindings in software', { bindingBytes: 2 ** 31, isSoftware: true }, undefined],
] as const)('tensors of chunks that ops make: %s', (_, facts, expected) => {
  expect(limitsOf({ ...PLAIN, ...facts }).chunkTensorBytes).toBe(expected);
});
