import { describe, expect, test } from 'vitest';
import { exactMatch, f1Score, normalizeAnswer, scoreAnswer } from '../../src/index.js';

// Expected values are those of SQuAD's evaluate-v1.1.py.
describe('normalizeAnswer', () => {
  test.each([
    ['The Cat', 'cat'],
    ['a  cat,\tand An owl!', 'cat and owl'],
    ['theatre', 'theatre'],
    ['the', ''],
    ['U.S.A.', 'usa'],
    ["John's well-known", 'johns wellknown'],
    ['the_end', 'theend'],
    ['a-b', 'ab'],
    ['naïve é', 'naïve é'],
    ['éa', 'éa'],
    ['“quoted”', '“quoted”'],
    ['  ', ''],
  ])('%j becomes %j', (text, normal) => {
    expect(normalizeAnswer(text)).toBe(normal);
  });
});

describe('scores', () => {
  test('exact match ignores case, articles and punctuation, and takes the best answer', () => {
    expect(exactMatch('the Kitchen.', ['garden', 'kitchen'])).toBe(1);
    expect(exactMatch('kitchens', ['garden', 'kitchen'])).toBe(0);
    expect(exactMatch('', ['the'])).toBe(1);
    expect(exactMatch('x', [])).toBe(0);
  });

  test('f1 counts words with multiplicity', () => {
    expect(f1Score('red red apple', ['red apple'])).toBeCloseTo((2 * (2 / 3) * 1) / (2 / 3 + 1), 12);
    expect(f1Score('the red apple', ['a red apple'])).toBe(1);
    expect(f1Score('green', ['red apple', 'green pear'])).toBeCloseTo(2 / 3, 12);
    expect(f1Score('green', ['red'])).toBe(0);
    expect(f1Score('green', [])).toBe(0);
  });

  test('two empty answers match exactly and have f1 0, as in the original script', () => {
    expect(scoreAnswer('', [''])).toEqual({ exactMatch: 1, f1: 0 });
  });
});
