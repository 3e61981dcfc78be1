import { TopKError } from '@topk-attention/core';
import { expect, test } from 'vitest';
import { failureOf } from '../src/failures.js';

test('a failure says once what it is, the numbers, and what to do', () => {
  const error = new TopKError('INVALID_OPTION', 'the text is too short', {
    ...{ expected: 'at least 738 characters', got: '5 characters', fix: 'Paste a longer text' },
  });
  expect(failureOf(error)).toEqual({
    code: 'INVALID_OPTION',
    title: 'The text is too short',
    detail: 'Expected at least 738 characters, got 5 characters',
    fix: 'Paste a longer text',
  });
  expect(failureOf(new TopKError('UNSUPPORTED', 'no such thing', { got: 'this' }))).toMatchObject({
    title: 'No such thing',
    fix: 'Begin a new run',
  });
});

test('a full disk is found among the causes, a lost device by its code', () => {
  const cause = new DOMException('full', 'QuotaExceededError');
  const notWritten = new TopKError('FILE_NOT_WRITTEN', 'the checkpoint cannot be written', { cause });
  expect(failureOf(new TopKError('FILE_NOT_WRITTEN', 'train', { cause: notWritten })).code).toBe(
    'STORAGE_FULL',
  );
  expect(failureOf(new TopKError('DEVICE_LOST', 'webgpu: the device was lost')).title).toBe(
    'The GPU was lost',
  );
  expect(failureOf('thrown').detail).toBe('thrown');
});
