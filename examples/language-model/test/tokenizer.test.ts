import { expect, test } from 'vitest';
import { buildTokenizer, tokenizerOf } from '../src/tokenizer.js';

test('characters: the most frequent first, the first of equals first, and back', () => {
  const tokenizer = buildTokenizer('characters', 'abbccc d', 100);
  expect(tokenizer.vocabulary).toEqual(['\ufffd', 'c', 'b', 'a', ' ', 'd']);
  expect([...tokenizer.encode('dab')]).toEqual([5, 3, 2]);
  expect(tokenizer.decode(tokenizer.encode('bad cab'))).toBe('bad cab');
});

test('a character is a code point', () => {
  const tokenizer = buildTokenizer('characters', '🙂🙃', 100);
  expect(tokenizer.encode('🙃🙂')).toHaveLength(2);
  expect(tokenizer.decode(tokenizer.encode('🙃🙂'))).toBe('🙃🙂');
});

test('words: the end of a line is one, and WikiText writes the unknown one itself', () => {
  const tokenizer = buildTokenizer('words', ' = Title = \n the <unk> saw the sea \n', 100);
  expect(tokenizer.vocabulary.slice(0, 2)).toEqual(['<unk>', '=']);
  expect(tokenizer.vocabulary.filter((word) => word === '<unk>')).toHaveLength(1);
  expect([...tokenizer.encode('<unk> rose')]).toEqual([0, 0]);
  expect(tokenizer.decode(tokenizer.encode(' the  sea \n saw'))).toBe('the sea\nsaw');
});

test('what does not fit into the vocabulary is unknown', () => {
  const tokenizer = buildTokenizer('words', 'a a a b b c', 3);
  expect(tokenizer.vocabulary).toEqual(['<unk>', 'a', 'b']);
  expect([...tokenizer.encode('a b c')]).toEqual([1, 2, 0]);
});

test('a saved vocabulary gives the same ids', () => {
  const made = buildTokenizer('characters', 'the keeper', 100);
  const again = tokenizerOf('characters', JSON.parse(JSON.stringify(made.vocabulary)));
  expect(again.encode('keep the')).toEqual(made.encode('keep the'));
});
