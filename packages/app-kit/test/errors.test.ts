import { TopKError } from '@topk-attention/core';
import { expect, test } from 'vitest';
import { describeError, ReportedError, reportOf, UsageError } from '../src/errors.js';

test.each([
  [
    new TopKError('FILE_NOT_FOUND', 'x cannot be read', { got: 'nothing', fix: 'Check the path' }),
    { code: 'FILE_NOT_FOUND', message: 'x cannot be read, got nothing.', fix: 'Check the path' },
  ],
  [new TopKError('DISPOSED', 'gone'), { code: 'DISPOSED', message: 'gone' }],
  [new UsageError('bad', 'See --help'), { code: 'USAGE', message: 'bad', fix: 'See --help' }],
  [new ReportedError({ code: 'A', message: 'b', fix: 'c' }), { code: 'A', message: 'b', fix: 'c' }],
  [AbortSignal.abort().reason, { code: 'ABORTED', message: 'interrupted' }],
  [new RangeError('odd'), { code: 'UNEXPECTED', message: 'odd' }],
  ['a string', { code: 'UNEXPECTED', message: 'a string' }],
])('%o as a report', (error, report) => expect(reportOf(error)).toEqual(report));

test('for people: the code, what, and what to do', () => {
  expect(describeError(new UsageError('bad', 'See --help'))).toBe('Error USAGE: bad\nFix: See --help');
  expect(describeError(AbortSignal.abort().reason)).toBe('Interrupted.');
});
