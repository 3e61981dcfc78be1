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
    ['x\u001cy', 'x y'],
    ['x\ufeffy', 'x\ufeffy'],
    ['\u0085a b', 'b'],
    ['the\u001fend', 'end'],
    ['a\u00a0an\u2029the b', 'b'],
    ['x\u200by', 'x\u200by'],
    ['\u180ea b', '\u180e b'],
  ])('%j becomes %j', (text, normal) => {
    expect(normalizeAnswer(text)).toBe(normal);
  });
});

test('words end where they do in Python', () => {
  const spaces = [
    ...[0x9, 0xa, 0xb, 0xc, 0xd, 0x1c, 0x1d, 0x1e, 0x1f, 0x20, 0x85, 0xa0, 0x1680],
    ...[0x2000, 0x2001, 0x2002, 0x2003, 0x2004, 0x2005, 0x2006, 0x2007, 0x2008, 0x2009, 0x200a],
    ...[0x2028, 0x2029, 0x202f, 0x205f, 0x3000],
  ];
  const found = Array.from({ length: 0x10000 }, (_, code) => code).filter(
    (code) => normalizeAnswer(`x${String.fromCharCode(code)}y`) === 'x y',
  );
  expect(found).toEqual(spaces);
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
