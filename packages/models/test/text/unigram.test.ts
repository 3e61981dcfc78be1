import { readFile } from 'node:fs/promises';
import { Tokenizer } from '@huggingface/tokenizers';
import { embeddedModel } from '@topk-attention/t5-goldens';
import { randomBelow } from '@topk-attention/vitest-preset/random';
import { describe, expect, test } from 'vitest';
import { createTokenizer } from '../../src/index.js';
import { Unigram } from '../../src/text/unigram.js';
import { errorOf } from '../support/errors.js';
import { randomText } from '../support/random.js';

/** The tokenizer of the model that the repository ships: NFKC, lower case, single spaces, 2,048 pieces. */
const shipped = await readFile(`${embeddedModel}/tokenizer.json`, 'utf8');

const all = (unigram: Unigram, text: string): number[] => {
  const ids: number[] = [];
  for (const _ of unigram.encode(text, ids));
  return ids;
};

describe('Unigram', () => {
  /** The definition, a character at a time, with strings. */
  function bruteForce(pieces: readonly string[], scores: readonly number[], text: string): number[] {
    const characters = [...text];
    const best: { score: number; ids: number[] }[] = [{ score: 0, ids: [] }];
    for (let end = 1; end <= characters.length; end++) {
      for (let begin = 0; begin < end; begin++) {
        const id = pieces.indexOf(characters.slice(begin, end).join(''));
        const isUnknown = id === -1 && end === begin + 1;
        if (id === -1 && !isUnknown) continue;
        const { score, ids } = best[begin] as (typeof best)[number];
        const own = isUnknown ? Math.min(...scores) - 10 : (scores[id] as number);
        const sum = score + own;
        const before = best[end];
        if (before !== undefined && before.score >= sum) continue;
        // Unknown characters beside each other are one.
        best[end] = { score: sum, ids: isUnknown && ids.at(-1) === 0 ? ids : [...ids, isUnknown ? 0 : id] };
      }
    }
    return (best[characters.length] as (typeof best)[number]).ids;
  }

  test('finds the best of all ways to cut a text', () => {
    const random = randomBelow(1);
    const letters = ['a', 'b', 'c', '👍', 'é'];
    for (let trial = 0; trial < 300; trial++) {
      const word = (longest: number) =>
        Array.from({ length: 1 + random(longest) }, () => letters[random(letters.length)]).join('');
      const pieces = [...new Set(['<unk>', ...Array.from({ length: 12 }, () => word(4))])];
      // Whole numbers: sums are exact, and there are ties.
      const scores = pieces.map((_, id) => (id === 0 ? 0 : -1 - random(6)));
      const unigram = new Unigram({ pieces, scores, unknownId: 0, byteFallback: false });
      const text = word(30);
      expect(all(unigram, text), `${text} of ${pieces}`).toEqual(bruteForce(pieces, scores, text));
    }
  });

  test('a long text without a break is as short ones are', () => {
    const pieces = ['<unk>', 'ab', 'ba', 'a', 'b', 'abba'];
    const scores = [0, -2, -3, -2.5, -2.5, -3];
    const unigram = new Unigram({ pieces, scores, unknownId: 0, byteFallback: false });
    expect(all(unigram, 'abba'.repeat(150_000))).toEqual(new Array(150_000).fill(5));
    expect(all(unigram, `${'abba'.repeat(20_000)}${'?'.repeat(70_000)}ab`).slice(19_999)).toEqual([5, 0, 1]);
  });

  test('two long texts at once do not disturb each other', () => {
    const pieces = ['<unk>', 'a', 'b', 'aa', 'bb'];
    const unigram = new Unigram({ pieces, scores: [0, -2, -2, -3, -3], unknownId: 0, byteFallback: false });
    const [first, second]: [number[], number[]] = [[], []];
    const texts = [unigram.encode('a'.repeat(100_000), first), unigram.encode('b'.repeat(100_000), second)];
    // Each round takes every text one stride further.
    for (let left = texts.length; left > 0; ) {
      left = texts.filter((text) => text.next().done !== true).length;
      all(unigram, 'ab');
    }
    expect(first).toEqual(new Array(50_000).fill(3));
    expect(second).toEqual(new Array(50_000).fill(4));
  });
});

describe('ids are those of the whole text', () => {
  const agrees = (definition: string, texts: Iterable<string>) => {
    const ours = createTokenizer(definition);
    const library = new Tokenizer(JSON.parse(definition), {});
    for (const text of texts)
      expect(ours.encode(text), JSON.stringify(text)).toEqual(library.encode(text).ids);
  };

  test('random Unicode text, against the lattice of the library', () => {
    const random = randomBelow(2);
    agrees(
      shipped,
      Array.from({ length: 300 }, () => randomText(random, random(80))),
    );
    agrees(shipped, [randomText(random, 20_000)]);
  });
});

describe('long texts', () => {
  const tokenizer = createTokenizer(shipped);
  const paragraph = 'Mary went to the kitchen. John moved to the garden and took the football there.\n';

  test('two megabytes', () => {
    const one = tokenizer.encode(paragraph).slice(0, -1);
    const ids = tokenizer.encode(paragraph.repeat(25_000));
    expect(ids.length).toBe(25_000 * one.length + 1);
    expect(ids.slice(-one.length - 1)).toEqual([...one, 1]);
  });

  test('a megabyte without a space', () => {
    const solid = 'football'.repeat(125_000);
    const ids = tokenizer.encode(solid);
    expect(tokenizer.decode(ids)).toBe(solid);
  });

  test('encodeAsync gives the same, shows how far it is, and lets events through', async () => {
    const text = paragraph.repeat(5_000);
    let timers = 0;
    const timer = setInterval(() => timers++, 1);
    const seen: { stage: string; done: number; total: number }[] = [];
    const ids = await tokenizer.encodeAsync(text, { onProgress: (progress) => seen.push(progress) });
    clearInterval(timer);
    expect(ids).toEqual(tokenizer.encode(text));
    expect(timers).toBeGreaterThan(0);
    expect(seen.length).toBeGreaterThan(5);
    expect(seen.every(({ stage, total }) => stage === 'tokenize' && total === text.length)).toBe(true);
    expect(seen.map(({ done }) => done)).toEqual(seen.map(({ done }) => done).sort((a, b) => a - b));
    expect(seen.every(({ done, total }) => done <= total)).toBe(true);
  });

  for (const [name, text] of [
    ['words', paragraph.repeat(10_000)],
    ['one word', 'football'.repeat(100_000)],
  ] as const) {
    test(`encodeAsync stops in the middle of ${name}`, async () => {
      const controller = new AbortController();
      let calls = 0;
      const encoding = tokenizer.encodeAsync(text, {
        signal: controller.signal,
        onProgress: () => {
          if (++calls === 3) controller.abort();
        },
      });
      expect((await errorOf(encoding)).code).toBe('ABORTED');
      expect(calls).toBe(3);
    });
  }

  test('a signal that is aborted already', async () => {
    const encoding = tokenizer.encodeAsync('a', { signal: AbortSignal.abort() });
    expect((await errorOf(encoding)).code).toBe('ABORTED');
  });
});

/** Ids and texts of the Rust library (tokenizers 0.23.2 for Python). */
describe('what no piece covers', () => {
  const bytes = Array.from({ length: 256 }, (_, byte) => [
    `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`,
    -10,
  ]);
  const definition = (byteFallback: boolean, split: boolean, vocabularyBytes = bytes): string =>
    JSON.stringify({
      added_tokens: [
        {
          id: 0,
          content: '<unk>',
          single_word: false,
          lstrip: false,
          rstrip: false,
          normalized: false,
          special: true,
        },
      ],
      normalizer: null,
      post_processor: null,
      pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split },
      decoder: {
        type: 'Sequence',
        decoders: [
          { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
          { type: 'ByteFallback' },
          { type: 'Fuse' },
          { type: 'Strip', content: ' ', start: 1, stop: 0 },
        ],
      },
      model: {
        type: 'Unigram',
        unk_id: 0,
        byte_fallback: byteFallback,
        vocab: [
          ['<unk>', 0],
          ['▁', -2],
          ['a', -3],
          ['ab', -4.5],
          ['▁▁', -1],
          ['a▁b', -1],
          ['éa', -2],
          ...vocabularyBytes,
        ],
      },
    });

  test.each([
    ['aé', [1, 2, 202, 176]],
    ['ab é', [1, 3, 1, 202, 176]],
    ['éé👍a', [1, 202, 176, 202, 176, 247, 166, 152, 148, 2]],
    ['x<0x41>', [1, 127, 72]],
  ])('%s becomes its bytes', (text, ids) => {
    const tokenizer = createTokenizer(definition(true, true));
    expect(tokenizer.encode(text)).toEqual(ids);
    expect(tokenizer.decode(ids)).toBe(text.replace('<0x41>', 'A'));
  });

  test('is unknown where a byte is missing, and without byte_fallback', () => {
    const some = bytes.filter(([piece]) => piece !== '<0xA9>');
    for (const tokenizer of [
      createTokenizer(definition(true, true, some)),
      createTokenizer(definition(false, true)),
    ]) {
      expect(tokenizer.encode('aé')).toEqual([1, 2, 0]);
      expect(tokenizer.encode('éé👍a')).toEqual([1, 0, 2]);
    }
  });

  test('pieces reach from word to word only where words are not split', () => {
    expect(createTokenizer(definition(true, true)).encode('a b')).toEqual([1, 2, 1, 105]);
    expect(createTokenizer(definition(true, false)).encode('a b')).toEqual([1, 5]);
    expect(createTokenizer(definition(true, true)).encode('a  b')).toEqual([1, 2, 1, 1, 105]);
    expect(createTokenizer(definition(true, false)).encode('a  b')).toEqual([1, 2, 4, 105]);
  });

  test('is an error without an id for it', () => {
    const tokenizer = createTokenizer(definition(false, true).replace('"unk_id":0', '"unk_id":null'));
    expect(tokenizer.encode('a a')).toEqual([1, 2, 1, 2]);
    expect(() => tokenizer.encode('a日')).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
  });

  test.each([
    ['"unk_id":0', '"unk_id":9999'],
    ['"unk_id":0', '"unk_id":-1'],
    ['["<unk>",0]', '["<unk>"]'],
    ['["▁",-2]', '[7,-2]'],
  ])('%s as %s is FILE_CORRUPT', (from, to) => {
    const changed = definition(true, true).replace(from, to);
    expect(() => createTokenizer(changed)).toThrow(expect.objectContaining({ code: 'FILE_CORRUPT' }));
  });
});
