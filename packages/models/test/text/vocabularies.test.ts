import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { readTokenizer } from '../../src/checkpoint/read-tokenizer.js';
import { createTokenizer, type TextTokenizer } from '../../src/index.js';
import { folderOf } from '../encoder/support.js';
import { errorOf } from '../support/errors.js';
import { MemorySource } from '../support/sources.js';

interface Case {
  readonly kind: 'words' | 'pairs';
  readonly files: { readonly [name: string]: object };
  readonly ids: readonly (readonly number[])[];
  readonly pair: readonly number[];
}

/** Vocabularies, and what Python makes of texts with them; see tooling/goldens/vocabularies.py. */
const read = (file: string): Promise<string> =>
  readFile(new URL(`../goldens/vocabularies/${file}`, import.meta.url), 'utf8');
const [words, pairs, merges] = await Promise.all(['vocab.txt', 'vocab.json', 'merges.txt'].map(read));
const { texts, cases }: { texts: readonly string[]; cases: readonly Case[] } = JSON.parse(
  await read('vocabularies.json'),
);
const vocabularies = {
  words: { 'vocab.txt': words as string },
  pairs: { 'vocab.json': pairs as string, 'merges.txt': merges as string },
};

const tokenizerOf = (files: { readonly [name: string]: string | object }): Promise<TextTokenizer> =>
  readTokenizer(
    new MemorySource(
      Object.fromEntries(
        Object.entries(files).map(([name, content]) => [
          name,
          typeof content === 'string' ? content : JSON.stringify(content),
        ]),
      ),
    ),
  );

test.each(cases)('ids are those of Python: $kind, $files', async ({ kind, files, ids, pair }) => {
  const tokenizer = await tokenizerOf({ ...vocabularies[kind], ...files });
  for (const [at, text] of texts.entries())
    expect(tokenizer.encode(text), JSON.stringify(text)).toEqual(ids[at]);
  const { spans } = tokenizer;
  const [first, second] = ['who went?', 'Mary.'].map((text) => spans?.encode(text).ids ?? []);
  expect(spans?.wrap(first as number[], second).ids).toEqual(pair);
});

describe('a folder of words', () => {
  const bert = { 'config.json': { model_type: 'bert' } };

  test('has the ids and texts of its tokenizer.json, which comes first', async () => {
    const json = await readFile(`${folderOf('bert')}/tokenizer.json`, 'utf8');
    const { model } = JSON.parse(json) as { model: { vocab: { [piece: string]: number } } };
    const pieces: string[] = [];
    for (const [piece, id] of Object.entries(model.vocab)) pieces[id] = piece;
    const own = createTokenizer(json);
    for (const end of ['\n', '\r\n']) {
      const tokenizer = await tokenizerOf({ ...bert, 'vocab.txt': pieces.join(end) + end });
      for (const text of texts) {
        expect(tokenizer.encode(text)).toEqual(own.encode(text));
        expect(tokenizer.decode(tokenizer.encode(text))).toBe(own.decode(own.encode(text)));
      }
    }
    const first = await tokenizerOf({ ...bert, 'tokenizer.json': json, 'vocab.txt': '[UNK]\n' });
    expect(first.encode('the garden')).toEqual(own.encode('the garden'));
  });

  test('counts the last of equal lines', async () => {
    const tokenizer = await tokenizerOf({ ...bert, 'vocab.txt': '[UNK]\n[CLS]\n[SEP]\nthe\nthe\n' });
    expect(tokenizer.encode('the')).toEqual([1, 4, 2]);
  });
});

test('a folder of byte pairs decodes what it encodes, special tokens apart', async () => {
  const tokenizer = await tokenizerOf({ ...vocabularies.pairs, 'config.json': { model_type: 'gpt2' } });
  for (const text of ['Who went to the garden?', 'café — naïve', '中文 😀', '']) {
    expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
  }
  expect(tokenizer.decode(tokenizer.encode('a<|endoftext|>b'))).toBe('ab');
});

const bertFiles = (settings: object): object => ({
  'vocab.txt': words,
  'tokenizer_config.json': { tokenizer_class: 'BertTokenizer', ...settings },
});
const pairFiles = (more: object, model = 'gpt2'): object => ({
  ...vocabularies.pairs,
  'config.json': { model_type: model },
  ...more,
});

test.each([
  [
    { 'vocab.txt': '[UNK]\n[SEP]\nthe\n', 'config.json': { model_type: 'bert' } },
    'FILE_CORRUPT',
    /no cls_token/,
  ],
  [{ 'vocab.txt': '', 'config.json': { model_type: 'bert' } }, 'FILE_CORRUPT', /vocab\.txt: no unk_token/],
  [bertFiles({ tokenizer_class: 'BertJapaneseTokenizer' }), 'UNSUPPORTED', /BertJapaneseTokenizer/],
  [bertFiles({ tokenizer_class: 'GPT2Tokenizer' }), 'UNSUPPORTED', /GPT2Tokenizer.*vocab\.txt/],
  [{ 'vocab.txt': words }, 'UNSUPPORTED', /another tokenizer/],
  [bertFiles({ do_lower_case: 'yes' }), 'INVALID_CONFIG', /bad do_lower_case/],
  [bertFiles({ strip_accents: 1 }), 'INVALID_CONFIG', /bad strip_accents/],
  [bertFiles({ cls_token: { content: 7 } }), 'INVALID_CONFIG', /bad cls_token/],
  [
    { ...bertFiles({}), 'special_tokens_map.json': { cls_token: 7 } },
    'INVALID_CONFIG',
    /map\.json: bad cls_token/,
  ],
  [
    { ...bertFiles({}), 'added_tokens.json': { '<x>': 'one' } },
    'INVALID_CONFIG',
    /added_tokens\.json: bad <x>/,
  ],
  [{ ...bertFiles({}), 'added_tokens.json': '[' }, 'FILE_CORRUPT', /added_tokens\.json/],
  [pairFiles({ 'merges.txt': undefined }), 'FILE_NOT_FOUND', /merges\.txt/],
  [pairFiles({ 'merges.txt': '#version: 0.2\nzz qq\n' }), 'FILE_CORRUPT', /merges\.txt joins.*"zz qq"/],
  [pairFiles({ 'merges.txt': 'a b c\n' }), 'FILE_CORRUPT', /merges\.txt joins.*"a b c"/],
  [pairFiles({ 'vocab.json': '{"a": -1}' }), 'INVALID_CONFIG', /vocab\.json: bad a/],
  [pairFiles({ 'vocab.json': '[]' }), 'FILE_CORRUPT', /vocab\.json/],
  [pairFiles({ 'vocab.json': '{' }), 'FILE_CORRUPT', /vocab\.json/],
  [pairFiles({ 'vocab.json': '{"a": 0}', 'merges.txt': '' }, 'roberta'), 'FILE_CORRUPT', /no sep_token/],
  [pairFiles({}, 'qwen2'), 'UNSUPPORTED', /vocab\.json/],
])('bad files are typed errors: %#', async (files, code, message) => {
  const given = Object.entries(files as { readonly [name: string]: string | object | undefined });
  const error = await errorOf(
    tokenizerOf(
      Object.fromEntries(given.filter(([, content]) => content !== undefined)) as { [name: string]: string },
    ),
  );
  expect([error.code, error.message]).toEqual([code, expect.stringMatching(message)]);
});
