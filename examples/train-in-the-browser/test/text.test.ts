import { TopKError } from '@topk-attention/core';
import { expect, test } from 'vitest';
import { defaultText } from '../src/default-text.js';
import type { Settings } from '../src/settings.js';
import { encodeText, leastCharacters, piecesOf, spreadPieces } from '../src/text.js';

const settings: Settings = {
  ...{
    mechanism: 'top-k',
    k: 8,
    size: 'tiny',
    context: 8,
    batch: 3,
    rate: 1e-3,
    steps: 10,
    every: 5,
    seed: 1,
  },
  device: 'cpu',
};

test('ids are places in the sorted characters, and the end of the text is kept for validation', () => {
  const text = `${'cab'.repeat(40)}é🐇`;
  const { vocabulary, training, validation } = encodeText(text, settings);
  expect(vocabulary).toEqual(['a', 'b', 'c', 'é', '🐇']);
  expect([...training.subarray(0, 4)]).toEqual([2, 0, 1, 2]);
  expect(training.length + validation.length).toBe(122);
  expect(validation.length).toBe(13);
  expect([...validation.subarray(-2)]).toEqual([3, 4]);
});

test('a piece predicts the same text one character later, up to the last character', () => {
  const ids = Int32Array.from({ length: 21 }, (_, i) => i);
  const pieces = piecesOf(ids, 8);
  expect(pieces.length).toBe(7); // from 0, 2, ..., 12
  expect([...pieces.get(6).ids]).toEqual([12, 13, 14, 15, 16, 17, 18, 19]);
  expect([...pieces.get(6).targets]).toEqual([13, 14, 15, 16, 17, 18, 19, 20]);
  expect(spreadPieces(ids, 8, 3).map((piece) => piece.ids[0])).toEqual([0, 6, 12]);
  expect(spreadPieces(ids, 8, 1).map((piece) => piece.ids[0])).toEqual([0]);
});

test('a text of the least length makes one batch; a shorter one is refused with the numbers', () => {
  const least = leastCharacters(settings.context, settings.batch);
  const enough = encodeText('x'.repeat(least), settings);
  expect(piecesOf(enough.training, settings.context).length).toBe(settings.batch);
  expect(enough.validation.length).toBe(settings.context + 1);
  const tooShort = (): unknown => encodeText('x'.repeat(least - 1), settings);
  expect(tooShort).toThrow(TopKError);
  expect(tooShort).toThrow(`at least ${least} characters`);
});

test('the text of the page is long enough for every choice of context at its default batch', () => {
  expect(defaultText.length).toBeGreaterThan(leastCharacters(256, 16));
});
