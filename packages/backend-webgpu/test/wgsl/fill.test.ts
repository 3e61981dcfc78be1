import { TopKError } from '@topk-attention/core';
import { expect, test } from 'vitest';
import { fill } from '../../src/wgsl/fill.js';

const text = `let a = \${size}u;
  #if wide
let b = \${name};
#else
let b = 0u;
#endif
let c = \${size}u;`;

test('parameters take the places of their names, lines of flags stay or go', () => {
  expect(fill(text, { size: 4, wide: true, name: 'x[0]' })).toBe('let a = 4u;\nlet b = x[0];\nlet c = 4u;');
  expect(fill(text, { size: 8, wide: false, name: 'x[0]' })).toBe('let a = 8u;\nlet b = 0u;\nlet c = 8u;');
});

test('a name that the text or the code does not know is an error', () => {
  expect(() => fill(text, { size: 4, name: '' })).toThrow(/wide/);
  expect(() => fill(text, { size: 4, wide: true })).toThrow(/name/);
  expect(() => fill(text, { size: 4, wide: true, name: '', rows: 1 })).toThrow(TopKError);
});
