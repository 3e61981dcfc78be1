import { createReferenceBackend } from '@topk-attention/core/reference';
import { goldensFolder, readGenerationCases } from '@topk-attention/t5-goldens';
import { thoroughAvailability } from '@topk-attention/vitest-preset';
import { describe, expect, test } from 'vitest';
import { loadT5 } from '../../src/index.js';
import { keepsNothing } from '../support/memory.js';

const cases = readGenerationCases();

/** The prompts of each case, all of them in one batch where there is time. */
const most = thoroughAvailability().available ? 4 : 1;

for (const folder of new Set(cases.map(({ model }) => model))) {
  describe(`generation with ${folder} as transformers does it, token for token`, () => {
    const backend = createReferenceBackend();
    const load = loadT5({ backend, source: `${goldensFolder}/${folder}`, tokenizer: false });

    test.each(cases.filter(({ model }) => model === folder))('$name', async (one) => {
      const model = await load;
      const results = await keepsNothing(backend, () =>
        model.generateBatch(one.prompts.slice(0, most), one.options),
      );
      expect(results.map(({ ids }) => ids)).toEqual(one.ids.slice(0, most).flat());
      const scores = one.scores?.slice(0, most).flat() ?? [];
      for (const [row, score] of scores.entries()) expect(results[row]?.score).toBeCloseTo(score, 4);
      if (scores.length === 0) expect(results.every((result) => !('score' in result))).toBe(true);
    });
  });
}
