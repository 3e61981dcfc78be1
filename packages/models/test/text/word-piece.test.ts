import { readFile } from 'node:fs/promises';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { expect, test } from 'vitest';
import { createTokenizer, loadEncoder } from '../../src/index.js';
import type { TextTokenizer } from '../../src/text/tokenizer.js';
import { changedCheckpoint, folderOf } from '../encoder/support.js';
import { errorOf } from '../support/errors.js';
import { MemorySource } from '../support/sources.js';

interface Case {
  readonly settings: object;
  readonly ids: readonly (readonly number[])[];
  readonly pair: { readonly ids: readonly number[]; readonly types: readonly number[] };
}

/** A vocabulary, and what Python makes of texts with it; see tooling/goldens/word_piece.py. */
const read = (file: string): Promise<string> =>
  readFile(new URL(`../goldens/word-piece/${file}`, import.meta.url), 'utf8');
const vocabulary = await read('vocab.txt');
const { texts, cases }: { texts: readonly string[]; cases: readonly Case[] } = JSON.parse(
  await read('word-piece.json'),
);

/** The tokenizer of a BERT's folder with these files in place of tokenizer.json. */
async function tokenizerOf(files: { readonly [name: string]: string }): Promise<TextTokenizer> {
  const { 'tokenizer.json': _, ...rest } = (await changedCheckpoint('bert', {})).files;
  const backend = createReferenceBackend();
  const model = await loadEncoder({ backend, source: new MemorySource({ ...rest, ...files }) });
  model.dispose();
  return model.tokenizer as TextTokenizer;
}

test.each(cases)('ids are those of Python: $settings', async ({ settings, ids, pair }) => {
  const config = JSON.stringify({ tokenizer_class: 'BertTokenizer', ...settings });
  const tokenizer = await tokenizerOf({ 'vocab.txt': vocabulary, 'tokenizer_config.json': config });
  for (const [at, text] of texts.entries())
    expect(tokenizer.encode(text), JSON.stringify(text)).toEqual(ids[at]);
  const { spans } = tokenizer;
  const [first, second] = ['who went?', 'Mary.'].map((text) => spans?.encode(text).ids ?? []);
  const wrapped = spans?.wrap(first as number[], second);
  expect(wrapped?.ids).toEqual(pair.ids);
  expect(wrapped?.types).toEqual(pair.types);
});

test('without tokenizer_config.json it is that of a BERT in lower case; a folder has the ids of its tokenizer.json', async () => {
  const json = await readFile(`${folderOf('bert')}/tokenizer.json`, 'utf8');
  const { model } = JSON.parse(json) as { model: { vocab: { [piece: string]: number } } };
  const pieces: string[] = [];
  for (const [piece, id] of Object.entries(model.vocab)) pieces[id] = piece;
  const own = createTokenizer(json);
  for (const end of ['\n', '\r\n']) {
    const tokenizer = await tokenizerOf({ 'vocab.txt': pieces.join(end) + end });
    for (const text of texts) {
      expect(tokenizer.encode(text)).toEqual(own.encode(text));
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(own.decode(own.encode(text)));
    }
  }
  // tokenizer.json comes first.
  const first = await tokenizerOf({ 'tokenizer.json': json, 'vocab.txt': '[UNK]\n' });
  expect(first.encode('the garden')).toEqual(own.encode('the garden'));
});

test('of equal pieces the last line counts', async () => {
  const tokenizer = await tokenizerOf({ 'vocab.txt': '[UNK]\n[CLS]\n[SEP]\nthe\nthe\n' });
  expect(tokenizer.encode('the')).toEqual([1, 4, 2]);
});

test.each([
  ['[UNK]\n[SEP]\nthe\n', {}, 'FILE_CORRUPT', /vocab\.txt: no piece "\[CLS\]"/],
  ['', {}, 'FILE_CORRUPT', /vocab\.txt: no piece/],
  [
    vocabulary,
    { tokenizer_class: 'BertJapaneseTokenizer' },
    'UNSUPPORTED',
    /vocab\.txt of another tokenizer/,
  ],
  [vocabulary, { tokenizer_class: 7 }, 'UNSUPPORTED', /vocab\.txt of another tokenizer/],
  [vocabulary, { do_lower_case: 'yes' }, 'INVALID_CONFIG', /bad do_lower_case/],
  [vocabulary, { strip_accents: 1 }, 'INVALID_CONFIG', /bad strip_accents/],
  [vocabulary, { cls_token: 7 }, 'INVALID_CONFIG', /bad cls_token/],
  [vocabulary, { cls_token: { content: 7 } }, 'INVALID_CONFIG', /bad cls_token/],
] as const)('bad files are typed errors: %#', async (words, settings, code, message) => {
  const files = { 'vocab.txt': words, 'tokenizer_config.json': JSON.stringify(settings) };
  const error = await errorOf(tokenizerOf(files));
  expect(error.code).toBe(code);
  expect(error.message).toMatch(message);
});
