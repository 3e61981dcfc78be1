import { readFileSync } from 'node:fs';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { goldensFolder } from '@topk-attention/t5-goldens';
import { thoroughAvailability } from '@topk-attention/vitest-preset';
import { describe, expect, test } from 'vitest';
import { type GenerateOptions, loadT5 } from '../../src/index.js';
import { keepsNothing } from '../support/memory.js';

interface Case {
  readonly name: string;
  readonly model: string;
  /** In transformers' names. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly prompts: readonly (readonly number[])[];
  /** New ids of each sequence of each prompt. */
  readonly ids: readonly (readonly (readonly number[])[])[];
  readonly scores?: readonly (readonly number[])[];
}

const { cases }: { readonly cases: readonly Case[] } = JSON.parse(
  readFileSync(`${goldensFolder}/generation.json`, 'utf8'),
);

/** The prompts of each case, all of them in one batch where there is time. */
const most = thoroughAvailability().available ? 4 : 1;

for (const folder of new Set(cases.map(({ model }) => model))) {
  describe(`generation with ${folder} as transformers does it, token for token`, () => {
    const backend = createReferenceBackend();
    const load = loadT5({ backend, source: `${goldensFolder}/${folder}`, tokenizer: false });

    test.each(cases.filter(({ model }) => model === folder))('$name', async (one) => {
      const model = await load;
      const options = optionsOf(one.options);
      const results = await keepsNothing(backend, () =>
        model.generateBatch(one.prompts.slice(0, most), options),
      );
      expect(results.map(({ ids }) => ids)).toEqual(one.ids.slice(0, most).flat());
      const scores = one.scores?.slice(0, most).flat() ?? [];
      for (const [row, score] of scores.entries()) expect(results[row]?.score).toBeCloseTo(score, 4);
      if (scores.length === 0) expect(results.every((result) => !('score' in result))).toBe(true);
    });
  });
}

/** 'num_beams' -> numBeams */
function optionsOf(options: Case['options']): GenerateOptions {
  return Object.fromEntries(
    Object.entries(options).map(([key, value]) => [
      key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()),
      value,
    ]),
  );
}
