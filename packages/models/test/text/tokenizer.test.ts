import { describe, expect, test } from 'vitest';
import { createTokenizer, type TextTokenizer } from '../../src/index.js';
import { TextStream } from '../../src/text/text-stream.js';
import { errorOf } from '../support/errors.js';
import { tokenizerJson } from '../support/sources.js';

describe('createTokenizer', () => {
  const tokenizer = createTokenizer(tokenizerJson(20));

  test('encodes with the end of sequence, decodes without', () => {
    expect(tokenizer.encode('w5 w19 w3')).toEqual([5, 19, 3, 1]);
    expect(tokenizer.decode([5, 19, 3, 1, 0, 0])).toBe('w5 w19 w3');
    expect(tokenizer.encode('')).toEqual([1]);
    expect(tokenizer.decode([])).toBe('');
  });

  test("other kinds of models are the library's", async () => {
    const bpe = createTokenizer(
      JSON.stringify({
        added_tokens: [],
        normalizer: null,
        pre_tokenizer: null,
        post_processor: null,
        decoder: null,
        model: { type: 'BPE', vocab: { a: 0, b: 1, ab: 2 }, merges: [['a', 'b']], unk_token: null },
      }),
    );
    expect(bpe.encode('abba')).toEqual([2, 1, 0]);
    expect(await bpe.encodeAsync('abba')).toEqual([2, 1, 0]);
    expect(bpe.decode([2, 1, 9])).toBe('ab b');
  });

  test.each<[string, object]>([
    ['what adds special tokens', { post_processor: { type: 'TemplateProcessing', single: null, pair: [] } }],
    ['a word without a beginning', { pre_tokenizer: { type: 'Metaspace', replacement: '' } }],
    ['a word with two beginnings', { pre_tokenizer: { type: 'Metaspace', replacement: '▁▁' } }],
  ])('%s that is broken is FILE_CORRUPT before any text', (_, changes) => {
    const broken = JSON.stringify({ ...JSON.parse(tokenizerJson(20)), ...changes });
    expect(() => createTokenizer(broken)).toThrow(expect.objectContaining({ code: 'FILE_CORRUPT' }));
  });

  test('ids that are none are FILE_CORRUPT, words without any INVALID_OPTION', () => {
    const wordPiece = createTokenizer(
      JSON.stringify({
        added_tokens: [],
        normalizer: null,
        pre_tokenizer: { type: 'BertPreTokenizer' },
        post_processor: null,
        decoder: null,
        model: { type: 'WordPiece', vocab: { a: 'x', b: 1 }, unk_token: '[UNK]' },
      }),
    );
    expect(wordPiece.encode('b b')).toEqual([1, 1]);
    expect(() => wordPiece.encode('b a')).toThrow(expect.objectContaining({ code: 'FILE_CORRUPT' }));
    expect(() => wordPiece.encode('b c')).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
  });

  test('ids beyond the vocabulary add nothing', () => {
    expect(tokenizer.decode([5, 20, 127, 3])).toBe('w5 w3');
  });

  test.each([[['5']], [[1.5]], [[-1]], [[5n]], [[Number.NaN]], [[undefined]], [7], ['w5'], [null]])(
    'decode refuses %o',
    (ids) => {
      expect(() => tokenizer.decode(ids as number[])).toThrow(
        expect.objectContaining({ code: 'INVALID_OPTION' }),
      );
    },
  );

  test.each<unknown>([5, null, undefined, ['w5']])('encode refuses %o', async (text) => {
    const wrong = text as string;
    expect(() => tokenizer.encode(wrong)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
    expect((await errorOf(tokenizer.encodeAsync(wrong))).code).toBe('INVALID_OPTION');
  });

  test.each<object>([{ onprogress: () => {} }, { signal: 5 }, { onProgress: true }])(
    'encodeAsync refuses the options %o',
    async (options) => {
      expect((await errorOf(tokenizer.encodeAsync('w5', options))).code).toBe('INVALID_OPTION');
    },
  );
});

describe('TextStream', () => {
  /** Bytes of UTF-8 as tokens: characters come in pieces. */
  const bytes: TextTokenizer = {
    encode: (text) => [...new TextEncoder().encode(text)],
    encodeAsync: async (text) => bytes.encode(text),
    decode: (ids) => new TextDecoder().decode(Uint8Array.from(ids)),
  };
  const push = (stream: TextStream, ids: readonly number[]): string[] =>
    ids.map((id, at) => stream.push(id, at === ids.length - 1));

  test('a character comes when it is complete', () => {
    const stream = new TextStream(bytes, () => false);
    expect(push(stream, bytes.encode('aé€!'))).toEqual(['a', '', 'é', '', '', '€', '!']);
    expect(stream.text).toBe('aé€!');
  });

  test('what is left incomplete comes with the last token', () => {
    const stream = new TextStream(bytes, () => false);
    expect(push(stream, [97, 0xe2, 0x82])).toEqual(['a', '', '\uFFFD']);
  });

  test('special tokens add nothing', () => {
    const stream = new TextStream(bytes, (id) => id === 0);
    expect(push(stream, [97, 0, 98, 0])).toEqual(['a', '', 'b', '']);
  });

  test('text that the decoder takes back is not emitted twice', () => {
    const fickle: TextTokenizer = {
      encode: () => [],
      encodeAsync: async () => [],
      decode: (ids) => (ids.length === 2 ? 'x' : 'ab'.repeat(ids.length)),
    };
    const stream = new TextStream(fickle, () => false);
    expect(push(stream, [1, 2, 3])).toEqual(['ab', '', 'abab']);
  });
});
