import { createReferenceBackend } from '@topk-attention/core/reference';
import { expect, test } from 'vitest';
import { toBatch, type Window, windowsOf } from '../src/windows.js';

const tokens = Int32Array.from({ length: 10 }, (_, i) => i);

test('each target is the token after its input, and the last window ends at the last token', async () => {
  const windows = windowsOf(tokens, 4, 1);
  expect(windows.length).toBe(6);
  const last = (await windows.get(windows.length - 1)) as Window;
  expect([...last.inputs]).toEqual([5, 6, 7, 8]);
  expect([...last.targets]).toEqual([6, 7, 8, 9]);
});

test('windows side by side share no target', async () => {
  const windows = windowsOf(tokens, 3, 3);
  const targets = await Promise.all([0, 1, 2].map(async (at) => [...(await windows.get(at)).targets]));
  expect(windows.length).toBe(3);
  expect(targets.flat()).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

test('a text that is too short has no window', () => {
  expect(windowsOf(tokens, 10, 1).length).toBe(0);
  expect(windowsOf(tokens, 9, 1).length).toBe(1);
});

test('windows become rows', async () => {
  const windows = windowsOf(tokens, 4, 2);
  const batch = toBatch(createReferenceBackend(), [await windows.get(0), await windows.get(1)]);
  expect(batch.inputs.shape).toEqual([2, 4]);
  expect([...(await batch.inputs.data())]).toEqual([0, 1, 2, 3, 2, 3, 4, 5]);
  expect([...(await batch.targets.data())]).toEqual([1, 2, 3, 4, 3, 4, 5, 6]);
});
