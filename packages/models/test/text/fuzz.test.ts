import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { TopKError } from '@topk-attention/core';
import { fuzzRuns, fuzzSeed, mutated } from '@topk-attention/vitest-preset/mutated';
import { expect, test } from 'vitest';
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
