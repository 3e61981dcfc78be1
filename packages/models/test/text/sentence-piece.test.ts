import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { optional } from '@topk-attention/vitest-preset';
import { describe, expect, test } from 'vitest';
import { createTokenizer, loadT5 } from '../../src/index.js';
import { Charsmap } from '../../src/text/charsmap.js';
import { tokenizerJsonOf } from '../../src/text/sentence-piece.js';
import { errorOf } from '../support/errors.js';
import { MemorySource } from '../support/sources.js';

/** A checkpoint of config.json, pytorch_model.bin and spiece.model alone; see tooling/goldens/sentence_piece.py. */
const folder = fileURLToPath(new URL('../goldens/older', import.meta.url));
const spiece = new Uint8Array(await readFile(`${folder}/spiece.model`));
const {
  texts,
  answers,
}: {
  texts: readonly (readonly [text: string, ids: readonly number[], decoded: string])[];
  answers: readonly { source: readonly number[]; target: readonly number[] }[];
} = JSON.parse(await readFile(`${folder}/older.json`, 'utf8'));

const backend = createReferenceBackend();

test('ids and texts are those of Python', () => {
  const tokenizer = createTokenizer(tokenizerJsonOf('spiece.model', spiece, 100));
  for (const [text, ids, decoded] of texts) {
    expect(tokenizer.encode(text), JSON.stringify(text)).toEqual(ids);
    expect(tokenizer.decode(ids), JSON.stringify(text)).toBe(decoded);
  }
});

test('a folder with neither tokenizer.json nor safetensors loads as it is', async () => {
  const model = await loadT5({ backend, source: folder });
  for (const { source, target } of answers) {
    const { ids } = await model.generate(source, { maxNewTokens: 8 });
    expect(ids).toEqual(target);
  }
  const { ids } = await model.generate('where is the a', { maxNewTokens: 8 });
  expect(ids).toEqual(answers[0]?.target);
});

test('tokenizer.json comes first, and tokenizer_config.json says how many extra ids there are', async () => {
  const read = async (file: string): Promise<Uint8Array> =>
    new Uint8Array(await readFile(`${folder}/${file}`));
  const files = {
    'config.json': await read('config.json'),
    'pytorch_model.bin': await read('pytorch_model.bin'),
    'spiece.model': spiece,
  };
  const encode = async (
    more: { readonly [file: string]: string },
    text: string,
  ): Promise<readonly number[]> => {
    const model = await loadT5({ backend, source: new MemorySource({ ...files, ...more }) });
    const ids = model.tokenizer?.encode(text) ?? [];
    model.dispose();
    return ids;
  };
  expect(await encode({}, '<extra_id_0>')).toEqual([139, 1]);
  expect(await encode({ 'tokenizer_config.json': '{"extra_ids": 7}' }, '<extra_id_0>')).toEqual([46, 1]);
  const other = tokenizerJsonOf('spiece.model', spiece, 1);
  expect(await encode({ 'tokenizer.json': other }, '<extra_id_0>')).toEqual([40, 1]);
  for (const bad of ['{"extra_ids": -1}', '{"extra_ids": 1e9}', '{"extra_ids": "many"}']) {
    expect((await errorOf(encode({ 'tokenizer_config.json': bad }, ''))).code).toBe('INVALID_CONFIG');
  }
});

const published = process.env.TOPK_T5_TOKENIZER;
const availability = {
  need: 't5-tokenizer',
  available: published !== undefined,
  reason:
    'TOPK_T5_TOKENIZER names no folder with the published spiece.model, tokenizer.json and t5-base-tests.json',
};
const readPublished = (file: string): Promise<Buffer> => readFile(`${published}/${file}`);

describe('the published vocabulary', () => {
  optional('of spiece.model and of tokenizer.json gives the ids of Python', availability, async () => {
    const fromPieces = tokenizerJsonOf(
      'spiece.model',
      new Uint8Array(await readPublished('spiece.model')),
      100,
    );
    const fromJson = String(await readPublished('tokenizer.json'));
    const { truncation: _, padding: __, ...definition } = JSON.parse(fromJson);
    expect(JSON.parse(fromPieces)).toEqual(definition);
    const tokenizer = createTokenizer(fromPieces);
    const random: readonly [string, readonly number[]][] = JSON.parse(
      await readFile(`${folder}/published.json`, 'utf8'),
    );
    const vectors: readonly [string, readonly number[]][] = JSON.parse(
      String(await readPublished('t5-base-tests.json')),
    );
    expect(vectors.length).toBe(1995);
    for (const [text, ids] of [...random, ...vectors]) {
      expect(tokenizer.encode(text), JSON.stringify(text)).toEqual(ids);
    }
  });
});

/** A field with a length, and the pieces of messages. */
const field = (number: number, content: Uint8Array | string): Buffer => {
  const bytes = Buffer.from(content);
  return Buffer.concat([Buffer.from([number * 8 + 2, bytes.length]), bytes]);
};
const varint = (number: number, value: number): Buffer =>
  number < 16
    ? Buffer.from([number * 8, value])
    : Buffer.from([((number * 8) & 0x7f) | 0x80, number >> 4, value]);
const piece = (text: string, type = 1): Buffer =>
  field(1, Buffer.concat([field(1, text), Buffer.from([0x15, 0, 0, 0x80, 0xbf]), varint(3, type)]));
const pieces = Buffer.concat([piece('</s>', 3), piece('<unk>', 2), piece('▁'), piece('a'), piece('▁a')]);
const unknown = field(2, varint(40, 1));

test('a model of this test is read', () => {
  const encode = (bytes: Buffer, text: string): readonly number[] =>
    createTokenizer(tokenizerJsonOf('spiece.model', bytes, 0)).encode(text);
  expect(encode(Buffer.concat([pieces, unknown]), 'a  aab')).toEqual([4, 4, 3, 1, 0]);
  // Without the space before the first word, and with all spaces kept.
  expect(encode(Buffer.concat([pieces, unknown, field(3, varint(3, 0))]), 'a a')).toEqual([3, 4, 0]);
  expect(encode(Buffer.concat([pieces, unknown, field(3, varint(4, 0))]), 'a a ')).toEqual([4, 4, 2, 0]);
  const bytes = Array.from({ length: 256 }, (_, byte) =>
    piece(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`, 6),
  );
  const fallback = Buffer.concat([pieces, ...bytes, field(2, Buffer.concat([varint(35, 1), varint(40, 1)]))]);
  const tokenizer = createTokenizer(tokenizerJsonOf('spiece.model', fallback, 0));
  expect(tokenizer.encode('aé')).toEqual([4, 5 + 0xc3, 5 + 0xa9, 0]);
  expect(tokenizer.decode(tokenizer.encode('aé a'))).toBe('aé a');
});

test.each<[string, Buffer, string]>([
  ['nothing', Buffer.alloc(0), 'FILE_CORRUPT'],
  ['text', Buffer.from('version https://git-lfs.github.com/spec/v1'), 'FILE_CORRUPT'],
  ['a field that ends early', Buffer.concat([pieces, Buffer.from([0x0a, 0x7f, 1])]), 'FILE_CORRUPT'],
  ['a number without end', Buffer.concat([pieces, Buffer.alloc(12, 0xff)]), 'FILE_CORRUPT'],
  ['a huge length', Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]), 'FILE_CORRUPT'],
  ['a group', Buffer.from([0x0b]), 'FILE_CORRUPT'],
  ['a piece without text', Buffer.concat([pieces, field(1, '')]), 'FILE_CORRUPT'],
  [
    'a piece that is not UTF-8',
    Buffer.concat([pieces, field(1, field(1, Uint8Array.of(0xff)))]),
    'FILE_CORRUPT',
  ],
  [
    'a score that is no number',
    Buffer.concat([pieces, field(1, Buffer.concat([field(1, 'x'), Buffer.from([0x15, 0, 0, 0xc0, 0x7f])]))]),
    'FILE_CORRUPT',
  ],
  ['an unknown id beyond the pieces', Buffer.concat([pieces, field(2, varint(40, 99))]), 'FILE_CORRUPT'],
  ['no end of sequence', Buffer.concat([piece('<unk>', 2), piece('a')]), 'FILE_CORRUPT'],
  ['byte pairs', Buffer.concat([pieces, field(2, varint(3, 2))]), 'UNSUPPORTED'],
  ['words', Buffer.concat([pieces, field(2, varint(3, 3))]), 'UNSUPPORTED'],
  ['plain spaces', Buffer.concat([pieces, unknown, field(3, varint(5, 0))]), 'UNSUPPORTED'],
  ['a charsmap of nothing', Buffer.concat([pieces, unknown, field(3, field(2, 'abcdefgh'))]), 'FILE_CORRUPT'],
])('a model with %s', (_, bytes, code) => {
  expect(() => createTokenizer(tokenizerJsonOf('spiece.model', bytes, 0))).toThrow(
    expect.objectContaining({ code }),
  );
});

describe('Charsmap', () => {
  const normalizer = JSON.parse(tokenizerJsonOf('spiece.model', spiece, 0)).normalizer.normalizers[0];
  const charsmap = new Charsmap(Buffer.from(normalizer.precompiled_charsmap, 'base64'));

  test('characters are whole, wherever a window of the text ends', () => {
    for (const [from, to] of [
      ['e\u0301', 'é'],
      ['a\u0308', 'ä'],
      ['\u200b', ''],
      ['\r\n', ' '],
    ] as const) {
      for (const around of ['हि', 'x', '👍🏽', '\u0301']) {
        for (const count of [1, 85, 126, 127, 128, 129, 400]) {
          // A mark joins what stands before it.
          if (around === '\u0301' && from !== '\r\n' && from !== '\u200b') continue;
          const text = `${around.repeat(count)}${from}`.repeat(3);
          expect(charsmap.normalize(text)).toBe(`${around.repeat(count)}${to}`.repeat(3));
        }
      }
    }
  });

  test('a mountain of marks takes no time with the square of its height', () => {
    const text = `a${'\u0308'.repeat(20_000)}b`;
    expect(charsmap.normalize(text)).toBe(text);
  });

  test('tries that point anywhere end', () => {
    const bytes = Buffer.from(normalizer.precompiled_charsmap, 'base64');
    for (let at = 4; at < bytes.length; at += 3) {
      const broken = Buffer.from(bytes);
      broken.fill(0xff, at, at + 2);
      new Charsmap(broken).normalize('e\u0301 a\u0308\u200b\u1100\u1161 \ufb01');
    }
  });
});
