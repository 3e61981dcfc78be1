import { readFileSync } from 'node:fs';
import { goldensFolder, readEncoderManifest } from '@topk-attention/t5-goldens';
import { describe, expect, test } from 'vitest';
import { createTokenizer } from '../../src/index.js';
import { alignedText } from '../../src/text/aligned-text.js';
import { bertWords, normalizeBert } from '../../src/text/bert-words.js';

const { models, normalizers, spaced } = readEncoderManifest();

for (const { model, tokenizer: golden } of models) {
  describe(`the tokenizer of ${model} against the Python package tokenizers`, () => {
    const tokenizer = createTokenizer(
      readFileSync(`${goldensFolder}/encoders/${model}/tokenizer.json`, 'utf8'),
    );
    const spans = tokenizer.spans;

    test.each(golden.cases)('$text', async ({ text, ids, offsets, words, decoded }) => {
      expect(tokenizer.encode(text)).toEqual(ids);
      expect(await tokenizer.encodeAsync(text)).toEqual(ids);
      const found = spans?.encode(text);
      expect(found?.starts.flatMap((start, at) => [start, found.ends[at]])).toEqual(offsets);
      expect(found?.words).toEqual(words);
      expect(spans?.wrap(found?.ids ?? []).ids).toEqual(ids);
      expect(tokenizer.decode(ids)).toBe(decoded);
    });

    test.each(golden.pairs)('the pair of "$a" and "$b"', ({ a, b, ids, types }) => {
      const [first, second] = [spans?.encode(a).ids ?? [], spans?.encode(b).ids ?? []];
      const wrapped = spans?.wrap(first, second);
      expect(wrapped).toMatchObject({ ids, types });
      expect(ids.slice(wrapped?.firstAt).slice(0, first.length)).toEqual(first);
      expect(ids.slice(wrapped?.secondAt).slice(0, second.length)).toEqual(second);
    });
  });
}

describe('a byte-level tokenizer that adds a space in front', () => {
  const definition = JSON.parse(readFileSync(`${goldensFolder}/encoders/roberta/tokenizer.json`, 'utf8'));
  definition.pre_tokenizer.add_prefix_space = true;
  definition.post_processor.add_prefix_space = true;
  const tokenizer = createTokenizer(JSON.stringify(definition));

  test.each(spaced)('$text', ({ text, ids, offsets }) => {
    expect(tokenizer.encode(text)).toEqual(ids);
    const found = tokenizer.spans?.encode(text);
    expect(found?.starts.flatMap((start, at) => [start, found.ends[at]])).toEqual(offsets);
  });
});

test('other tokenizers do not tell where tokens stand', () => {
  const definition = JSON.parse(readFileSync(`${goldensFolder}/encoders/bert/tokenizer.json`, 'utf8'));
  const other = { ...definition, pre_tokenizer: { type: 'Whitespace' } };
  const tokenizer = createTokenizer(JSON.stringify(other));
  expect(tokenizer.spans).toBeUndefined();
  expect(tokenizer.encode('the garden').length).toBeGreaterThan(2);
});

test('byte-level words have places only where every byte has a piece', () => {
  const definition = JSON.parse(readFileSync(`${goldensFolder}/encoders/roberta/tokenizer.json`, 'utf8'));
  expect(createTokenizer(JSON.stringify(definition)).spans).toBeDefined();
  const { model } = definition;
  const unknown = model.vocab['<unk>'];
  delete model.vocab.Z;
  model.unk_token = '<unk>';
  const tokenizer = createTokenizer(JSON.stringify(definition));
  expect(tokenizer.spans).toBeUndefined();
  expect(tokenizer.encode('Z')).toContain(unknown);
});

interface Definition {
  readonly clean_text: boolean;
  readonly handle_chinese_chars: boolean;
  readonly strip_accents: boolean | null;
  readonly lowercase: boolean;
}

for (const { normalizer, cases } of normalizers) {
  const given = normalizer as Definition;
  describe(`words of BERT with ${JSON.stringify(normalizer)}`, () => {
    const settings = {
      cleanText: given.clean_text,
      handleChinese: given.handle_chinese_chars,
      stripAccents: given.strip_accents ?? given.lowercase,
      lowercase: given.lowercase,
    };
    test.each(cases)('$text', ({ text, words }) => {
      const found = [...bertWords(normalizeBert(alignedText(text, 0), settings))];
      expect(
        found.map(({ characters, starts, ends }) => [characters.join(''), starts[0], ends.at(-1)]),
      ).toEqual(words);
    });
  });
}
