import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { TopKError } from '@topk-attention/core';
import { fuzzRuns, fuzzSeed, mutated, mutatedJson } from '@topk-attention/vitest-preset/mutated';
import { expect, test, vi } from 'vitest';
import { parseGenerationConfig } from '../../src/generation/generation-config.js';
import { parseCausalLMConfig, parseEncoderConfig, parseT5Config } from '../../src/index.js';
import { Charsmap } from '../../src/text/charsmap.js';
import { tokenizerJsonOf } from '../../src/text/sentence-piece.js';
import { createTokenizer } from '../../src/text/tokenizer.js';

const spiece = new Uint8Array(
  await readFile(fileURLToPath(new URL('../goldens/older/spiece.model', import.meta.url))),
);
const text = 'where is e\u0301 \ufb01ng <extra_id_3> \u1100\u1161 👍🏽\n a\u0308  ?';

function expectTyped(trial: number, run: () => void): void {
  try {
    run();
  } catch (error) {
    if (!(error instanceof TopKError)) throw new Error(`trial ${trial}: ${error}`, { cause: error });
  }
}

test(`broken spiece.model files are read, or refused by an error of the project, seed ${fuzzSeed}`, () => {
  for (let trial = 0; trial < fuzzRuns; trial++) {
    const bytes = mutated(spiece, fuzzSeed + trial);
    expectTyped(trial, () => {
      const tokenizer = createTokenizer(tokenizerJsonOf('spiece.model', bytes, 5));
      const ids = tokenizer.encode(text);
      expect(ids.every((id) => Number.isSafeInteger(id) && id >= 0)).toBe(true);
      tokenizer.decode(ids);
    });
  }
});

test(`broken charsmaps end, seed ${fuzzSeed}`, () => {
  const { normalizer } = JSON.parse(tokenizerJsonOf('spiece.model', spiece, 0));
  const original = Buffer.from(normalizer.normalizers[0].precompiled_charsmap, 'base64');
  for (let trial = 0; trial < fuzzRuns; trial++) {
    const bytes = mutated(original, fuzzSeed + trial);
    expectTyped(trial, () => {
      // A character becomes at most all texts.
      expect(new Charsmap(bytes).normalize(text).length).toBeLessThanOrEqual(text.length * bytes.length);
    });
  }
});

const root = new URL('../../../../', import.meta.url);
const goldens = 'tooling/t5-goldens/goldens';

// WordPiece, byte-level BPE, Unigram, BPE with byte fallback.
test.each([
  `${goldens}/encoders/bert`,
  `${goldens}/encoders/roberta`,
  'apps/qa-demo/model',
  `${goldens}/stories260K`,
])(
  `broken tokenizer.json files are used, or refused by an error of the project: %s, seed ${fuzzSeed}`,
  async (folder) => {
    const original = await readFile(new URL(`${folder}/tokenizer.json`, root), 'utf8');
    const words = `${text} [MASK] <mask> \u{10ffff}`;
    let refused = 0;
    // The library prints what it does not know.
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {});
    for (let trial = 0; trial < fuzzRuns; trial++) {
      try {
        const tokenizer = createTokenizer(mutatedJson(original, fuzzSeed + trial));
        const ids = tokenizer.encode(words);
        expect(ids.filter((id) => !Number.isSafeInteger(id) || id < 0)).toEqual([]);
        tokenizer.decode(ids);
        tokenizer.spans?.encode(words);
      } catch (error) {
        if (!(error instanceof TopKError)) throw new Error(`trial ${trial}: ${error}`, { cause: error });
        refused++;
      }
    }
    warn.mockRestore();
    expect(refused).toBeGreaterThan(0);
    expect(refused).toBeLessThan(fuzzRuns);
  },
);

const parsers: readonly (readonly [file: string, parse: (text: string) => unknown])[] = [
  [`${goldens}/encoders/distilbert/config.json`, (content) => parseEncoderConfig(content)],
  [`${goldens}/encoders/roberta/config.json`, (content) => parseEncoderConfig(content)],
  [`${goldens}/t5-v1_1/config.json`, (content) => parseT5Config(content)],
  [`${goldens}/causal-lm/gpt2/config.json`, (content) => parseCausalLMConfig(content)],
  [`${goldens}/causal-lm/llama-3/config.json`, (content) => parseCausalLMConfig(content)],
  ['apps/qa-demo/model/generation_config.json', (content) => parseGenerationConfig(content)],
];

test.each(parsers)(
  `broken %s is read, or refused by an error of the project, seed ${fuzzSeed}`,
  async (file, parse) => {
    const original = await readFile(new URL(file, root), 'utf8');
    for (let trial = 0; trial < fuzzRuns; trial++)
      expectTyped(trial, () => parse(mutatedJson(original, fuzzSeed + trial)));
  },
);
