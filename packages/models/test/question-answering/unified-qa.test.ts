import { expect, test } from 'vitest';
import { formatUnifiedQA } from '../../src/index.js';

test('parts are joined by the two characters backslash and n, in lower case', () => {
  const input = formatUnifiedQA({ question: 'Where is Ann?', context: 'Ann went to the Garden.' });
  expect(input).toBe('where is ann? \\n ann went to the garden.');
  expect(input).not.toContain('\n');
  expect(input.indexOf('\\')).toBe('where is ann? '.length);
});

test('choices come between question and context', () => {
  expect(formatUnifiedQA({ question: 'What falls?', choices: ['Rain', 'the sky '] })).toBe(
    'what falls? \\n (a) rain (b) the sky',
  );
  expect(formatUnifiedQA({ question: 'q', choices: ['x', 'y', 'z'], context: 'c' })).toBe(
    'q \\n (a) x (b) y (c) z \\n c',
  );
});

test('a question alone has no separator; line breaks become spaces', () => {
  expect(formatUnifiedQA({ question: ' Why? ' })).toBe('why?');
  expect(formatUnifiedQA({ question: 'Why?', choices: [], context: '' })).toBe('why?');
  expect(formatUnifiedQA({ question: 'q', context: 'one\ntwo\r\n\tthree' })).toBe('q \\n one two three');
});
