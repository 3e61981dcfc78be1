import { createReferenceBackend } from '@topk-attention/core/reference';
import { afterAll, describe, expect, test } from 'vitest';
import { errorBetween } from '../../src/choosing-k/output-error.js';
import {
  type AnswerSample,
  type CausalLM,
  createCausalLM,
  kErrors,
  type LayerChoices,
  suggestK,
} from '../../src/index.js';
import { errorOf } from '../support/errors.js';
import { keepsNothing } from '../support/memory.js';
import { type TinyFamily, tinyCausalConfig, tinyCausalParameters } from '../support/tiny-causal.js';

const backend = createReferenceBackend();
const exact = { attention: 'exact', feedForward: 'exact' } as const;

/** A model that no token ends, and which keeps and generates little unless a call says otherwise. */
function endless(family: TinyFamily): CausalLM {
  const config = { ...tinyCausalConfig(family), eosIds: [] };
  return createCausalLM(config, tinyCausalParameters(backend, config, 4), {
    attention: { k: 1 },
    generationConfig: { maxNewTokens: 2, doSample: true },
  });
}

const [gpt2, llama] = [endless('gpt2'), endless('llama')];
afterAll(() => {
  gpt2.dispose();
  llama.dispose();
  expect(backend.memory().live).toBe(0);
});

const source = [5, 3, 9, 2, 4, 8, 8];
const target = [6, 2, 2, 7, 10];
const sample: AnswerSample = { source, target };

/** The logits that predict `tokens` after the source, from a forward pass over all of them. */
async function predictions(
  model: CausalLM,
  tokens: readonly number[],
  choices: LayerChoices,
): Promise<number[]> {
  const logits = model.logits([[...source, ...tokens.slice(0, -1)]], choices);
  const values = Array.from(await logits.data(), Number);
  logits.dispose();
  return values.slice((source.length - 1) * model.config.vocabSize);
}

async function divergence(model: CausalLM, choices: LayerChoices): Promise<number> {
  const [one, other] = [await predictions(model, target, exact), await predictions(model, target, choices)];
  return errorBetween({ width: model.config.vocabSize, values: one }, other, true).kl as number;
}

describe('a comparison', () => {
  test.each([
    ['gpt2', gpt2],
    ['llama', llama],
  ])('%s: has the logits of each token of the target', async (_, model) => {
    const { outputs, parts, run } = await model.comparison(sample);
    expect(outputs).toBe('logits');
    expect(parts).toEqual(
      ['decoder.0', 'decoder.1'].flatMap((path) => [
        { path, part: 'attention', most: source.length + target.length - 1 },
        { path, part: 'feedForward', most: model.config.dFf },
      ]),
    );
    for (const choices of [exact, { ...exact, attention: { k: 3 } }]) {
      await keepsNothing(backend, async () => {
        const logits = run(choices);
        expect(logits.shape).toEqual([1, target.length, model.config.vocabSize]);
        expect(Array.from(await logits.data(), Number)).toEqual(await predictions(model, target, choices));
        logits.dispose();
      });
    }
  });

  test('without a target it is what the exact model says next, whatever the load said', async () => {
    const { ids } = await llama.generate(source, { ...exact, doSample: false, maxNewTokens: 32 });
    for (const given of [source, { source }]) {
      const logits = (await keepsNothing(backend, () => llama.comparison(given))).run(exact);
      expect(Array.from(await logits.data(), Number)).toEqual(await predictions(llama, ids, exact));
      logits.dispose();
    }
  });

  test('ends where learned positions do', async () => {
    const { parts } = await gpt2.comparison(source);
    expect(parts[0]?.most).toBe(gpt2.config.maxPositions);
    const last = await gpt2.comparison(Array.from({ length: 16 }, () => 3));
    expect(last.parts[0]?.most).toBe(16);
    const long = await errorOf(gpt2.comparison(Array.from({ length: 17 }, () => 3)));
    expect(long.code).toBe('INVALID_OPTION');
  });

  test('refuses what is no sample, and stops', async () => {
    const codes = async (given: unknown): Promise<string> =>
      (await errorOf(llama.comparison(given as AnswerSample))).code;
    expect(await codes({ text: 'once' })).toBe('INVALID_OPTION');
    expect(await codes('once')).toBe('INVALID_OPTION');
    expect(await codes([11])).toBe('INVALID_OPTION');
    expect(await codes([])).toBe('EMPTY_SEQUENCE');
    expect(await codes({ source, target: [] })).toBe('EMPTY_SEQUENCE');
    const stopped = await keepsNothing(backend, () =>
      errorOf(llama.comparison(source, AbortSignal.abort('enough'))),
    );
    expect(stopped.code).toBe('ABORTED');
    const config = tinyCausalConfig('qwen3');
    const gone = createCausalLM(config, tinyCausalParameters(backend, config));
    const before = await gone.comparison(sample);
    gone.dispose();
    expect((await errorOf(gone.comparison(source))).code).toBe('DISPOSED');
    expect(() => before.run(exact)).toThrow(expect.objectContaining({ code: 'DISPOSED' }));
  });
});

describe('choosing k', () => {
  test('the bound holds with k and not below, and generate takes the choices', async () => {
    const tolerance = 0.001;
    const { k, layers, choices, choicesError } = await keepsNothing(backend, () =>
      suggestK(llama, [sample], { tolerance }),
    );
    if (k === 'exact') throw new Error('exact');
    expect(k).toBeGreaterThan(1);
    expect(await divergence(llama, { ...exact, attention: { k } })).toBeLessThanOrEqual(tolerance);
    expect(await divergence(llama, { ...exact, attention: { k: k - 1 } })).toBeGreaterThan(tolerance);
    expect(layers.map(({ path, part }) => `${path} ${part}`)).toEqual([
      'decoder.0 attention',
      'decoder.1 attention',
    ]);
    expect(choicesError.kl).toBeLessThanOrEqual(tolerance);
    expect(await divergence(llama, choices)).toBeCloseTo(choicesError.kl as number, 9);
    expect((await llama.generate(source, choices)).ids).toHaveLength(2);
  });

  test('hidden units, and the report', async () => {
    const { most, layers } = await suggestK(llama, [sample], { tolerance: 0.01, of: 'feedForward' });
    expect(most).toBe(llama.config.dFf);
    expect(layers.map(({ part }) => part)).toEqual(['feedForward', 'feedForward']);
    const errors = await keepsNothing(backend, () => kErrors(llama, [sample], { ks: [2] }));
    for (const { path, residual, output } of errors) {
      expect(residual).toBeGreaterThan(0);
      const layer = { ...exact, layers: { [path]: { attention: { k: 2 } } } };
      expect(output.kl).toBeCloseTo(await divergence(llama, layer), 9);
    }
    expect(errors).toHaveLength(2);
  });
});
