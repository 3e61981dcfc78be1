import { type Tensor, tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { randomBelow } from '@topk-attention/vitest-preset/random';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Comparison, LayerPart } from '../../src/choosing-k/comparison.js';
import { errorBetween } from '../../src/choosing-k/output-error.js';
import {
  type AnswerSample,
  type ComparableModel,
  kErrors,
  type LayerChoices,
  loadT5,
  suggestK,
  type T5,
} from '../../src/index.js';
import { errorOf } from '../support/errors.js';
import { keepsNothing } from '../support/memory.js';
import { smallCheckpoint } from '../support/sources.js';

const backend = createReferenceBackend();

/**
 * A model whose vectors turn away from the exact one by an angle: each part adds the same amount for each key that it
 * leaves out below its `needs`.
 */
class TurningModel implements ComparableModel<number> {
  readonly needs: readonly number[];
  runs = 0;

  constructor(needs: readonly number[]) {
    this.needs = needs;
  }

  async comparison(length: number): Promise<Comparison> {
    const parts = this.needs.map(
      (_, block): LayerPart => ({ path: `encoder.${block}`, part: 'attention', most: length }),
    );
    return {
      outputs: 'vectors',
      parts,
      run: (choices) => {
        this.runs++;
        const angle = this.needs.reduce((sum, need, block) => {
          const choice = choices.layers?.[`encoder.${block}`]?.attention;
          const k = typeof choice === 'object' ? Math.min(choice.k, length) : length;
          return sum + Math.max(0, need - k) * 0.01;
        }, 0);
        return tensor(backend, [Math.cos(angle), Math.sin(angle)], [1, 2]);
      },
    };
  }

  /** Of layers that keep so much. */
  error(ks: readonly number[]): number {
    const angle = this.needs.reduce(
      (sum, need, at) => sum + Math.max(0, need - (ks[at] as number)) * 0.01,
      0,
    );
    return 1 - Math.cos(angle);
  }
}

describe('the search', () => {
  test('finds the smallest k for all layers, and for each', async () => {
    const random = randomBelow(2);
    for (let turn = 0; turn < 30; turn++) {
      const needs = Array.from({ length: 3 }, () => 1 + random(60));
      const model = new TurningModel(needs);
      const tolerance = 0.0005 * random(4);
      const { k, error, layers, choices, choicesError, most } = await suggestK(model, [64, 20], {
        tolerance,
      });
      expect(most).toBe(64);
      const accepts = (one: number): boolean => model.error(needs.map(() => one)) <= tolerance + 1e-7;
      let least = 1;
      while (!accepts(least)) least++;
      if (k === 'exact') throw new Error('exact');
      expect(k).toBeGreaterThanOrEqual(least);
      expect(k - least).toBeLessThanOrEqual(k / 8);
      expect(error.cosine).toBeCloseTo(model.error(needs.map(() => k)), 5);
      expect(choicesError.cosine).toBeLessThanOrEqual(tolerance + 1e-7);
      for (const [block, layer] of layers.entries()) {
        expect(layer).toMatchObject({ path: `encoder.${block}`, part: 'attention' });
        const choice = choices.layers?.[`encoder.${block}`]?.attention;
        expect(layer.k).toBe(typeof choice === 'object' ? choice.k : 'exact');
        expect(layer.error.cosine).toBeLessThanOrEqual(tolerance / 3 + 1e-7);
      }
      expect(model.runs).toBeLessThan(150);
    }
    expect(backend.memory().live).toBe(0);
  });

  test('says "exact" where every k below the length costs too much', async () => {
    const model = new TurningModel([40, 3]);
    const { k, layers, choices } = await suggestK(model, [10], { tolerance: 0 });
    expect(k).toBe('exact');
    expect(layers.map((layer) => layer.k)).toEqual(['exact', 3]);
    expect(choices.layers).toEqual({ 'encoder.1': { attention: { k: 3 } } });
  });

  test('lets ks grow that are too small together', async () => {
    // Each alone stays within its share; angles add up, and their cosines more than that.
    const model = new TurningModel([30, 30, 30, 30]);
    const { layers, choicesError } = await suggestK(model, [64], { tolerance: 0.004 });
    const alone = layers.map(({ k }) => k as number);
    expect(model.error(alone)).toBeLessThanOrEqual(0.004);
    expect(choicesError.cosine).toBeLessThanOrEqual(0.004);
  });
});

describe('on a T5', () => {
  let model: T5;
  const samples: readonly AnswerSample[] = [
    { source: [40, 41, 42, 7, 9, 11, 80, 81, 3, 1], target: [5, 6, 7, 1] },
    'w7 w50 w31 w99 w12 w13 w14 w15 w16',
  ];

  beforeAll(async () => {
    model = await loadT5({ backend, source: await smallCheckpoint(), attention: { k: 1 } });
  });
  afterAll(() => {
    model.dispose();
    expect(backend.memory().live).toBe(0);
  });

  /** The mean divergence of the first sample, straight from the model's logits. */
  async function divergence(choices: LayerChoices): Promise<number> {
    const read = async (own: LayerChoices): Promise<ArrayLike<number>> => {
      const logits = model.logits([[40, 41, 42, 7, 9, 11, 80, 81, 3, 1]], [[0, 5, 6, 7]], own);
      const values = await logits.data();
      logits.dispose();
      return values;
    };
    const exact = await read({ attention: 'exact', feedForward: 'exact' });
    const { kl } = errorBetween({ width: model.config.vocabSize, values: exact }, await read(choices), true);
    return kl as number;
  }

  test('the bound holds with k, and not below', async () => {
    const one = samples.slice(0, 1);
    for (const tolerance of [0.3, 0.02]) {
      const { k, error } = await keepsNothing(backend, () => suggestK(model, one, { tolerance }));
      if (k === 'exact') throw new Error('exact');
      expect(await divergence({ attention: { k } })).toBeCloseTo(error.kl as number, 6);
      expect(error.kl).toBeLessThanOrEqual(tolerance);
      if (k > 1) expect(await divergence({ attention: { k: k - 1 } })).toBeGreaterThan(tolerance);
    }
  });

  test('choices of the layers keep the bound, and are what generate takes', async () => {
    const seen: string[] = [];
    const { layers, choices, choicesError } = await keepsNothing(backend, () =>
      suggestK(model, samples, {
        tolerance: 0.1,
        onProgress: ({ stage, done, total }) => seen.push(`${stage} ${done}/${total}`),
      }),
    );
    expect(layers.map(({ path, part }) => `${path}.${part}`)).toEqual([
      'encoder.0.attention',
      'encoder.1.attention',
      'decoder.0.attention',
      'decoder.0.crossAttention',
      'decoder.1.attention',
      'decoder.1.crossAttention',
    ]);
    expect(choicesError.kl).toBeLessThanOrEqual(0.1);
    expect(await divergence(choices)).toBeLessThanOrEqual((choicesError.kl as number) + 1e-6);
    expect((await model.generate([9, 8, 1], { ...choices, maxNewTokens: 2 })).ids.length).toBeGreaterThan(0);
    expect(seen.at(-1)).toBe('compare 8/8');
  });

  test('feed-forward layers, and another measure', async () => {
    const { layers, most, error } = await suggestK(model, samples.slice(0, 1), {
      tolerance: 0,
      measure: 'argmax',
      of: 'feedForward',
    });
    expect(most).toBe(model.config.dFf);
    expect(layers.map(({ part }) => part)).toEqual([
      'feedForward',
      'feedForward',
      'feedForward',
      'feedForward',
    ]);
    expect(error.argmax).toBe(0);
  });

  test('a report of what each k does to each layer', async () => {
    const errors = await keepsNothing(backend, () => kErrors(model, samples, { ks: [2, 6, 9] }));
    expect(errors).toHaveLength(6 * 3);
    for (const { path, k, residual, output } of errors) {
      if (path.startsWith('encoder') && k === 2) expect(residual).toBeGreaterThan(0);
      expect(output.kl).toBeGreaterThanOrEqual(0);
    }
    // The report's last column, from the model's own logits, for the first sample alone.
    const [first] = await kErrors(model, samples.slice(0, 1), { ks: [2] });
    const choices: LayerChoices = {
      attention: 'exact',
      layers: { 'encoder.0': { attention: { k: 2 } } },
    };
    expect(first?.output.kl).toBeCloseTo(await divergence(choices), 6);
    const streams: number[][] = [];
    for (const own of [{ attention: 'exact' } as const, choices]) {
      const seen = new Map<string, Tensor>();
      const onResidual = (path: string, x: Tensor): void => void seen.set(path, x);
      model.encode([[40, 41, 42, 7, 9, 11, 80, 81, 3, 1]], { ...own, trace: { onResidual } }).dispose();
      streams.push(Array.from((await seen.get('encoder.0')?.data()) ?? [], Number));
      for (const one of seen.values()) one.dispose();
    }
    const [exact, approximate] = streams as [number[], number[]];
    const length = (xs: readonly number[]): number => Math.sqrt(xs.reduce((sum, x) => sum + x * x, 0));
    const difference = length(exact.map((x, at) => x - (approximate[at] as number)));
    expect(first?.residual).toBeCloseTo(difference / length(exact), 5);
  });

  test('samples that say nothing are refused', async () => {
    for (const run of [
      (given: readonly AnswerSample[]) => suggestK(model, given, { tolerance: 0.1 }),
      (given: readonly AnswerSample[]) => kErrors(model, given, { ks: [4] }),
    ]) {
      expect((await errorOf(run([]))).code).toBe('EMPTY_SEQUENCE');
      const empty = await errorOf(run([[5, 6, 1], []]));
      expect(empty.code).toBe('EMPTY_SEQUENCE');
      expect(empty.message).toContain('sample 1 is empty');
      const short = await errorOf(run([{ source: [1], target: [1] }]));
      expect(short.code).toBe('INVALID_K');
      expect(short.fix).toContain('texts of the length');
      expect((await errorOf(run([{ text: 'w5' } as unknown as AnswerSample]))).code).toBe('INVALID_OPTION');
    }
    for (const ks of [[40], [0], [1.5]])
      expect((await errorOf(kErrors(model, samples, { ks }))).code).toBe('INVALID_K');
    expect((await errorOf(kErrors(model, samples, { ks: [] }))).code).toBe('INVALID_OPTION');
    const other = {} as unknown as typeof model;
    expect((await errorOf(kErrors(other, samples, { ks: [1] }))).message).toContain('bad model');
    expect((await errorOf(suggestK(model, samples, { tolerance: -1 }))).code).toBe('INVALID_OPTION');
    const turning = suggestK(new TurningModel([3]), [9], { tolerance: 0.1, measure: 'kl' });
    expect((await errorOf(turning)).code).toBe('INVALID_OPTION');
  });

  test('a signal stops both, and frees everything', async () => {
    for (const run of [
      (options: object) => suggestK(model, samples, { tolerance: 0.1, ...options }),
      (options: object) => kErrors(model, samples, { ks: [2], ...options }),
    ]) {
      const controller = new AbortController();
      const error = await keepsNothing(backend, () =>
        errorOf(run({ signal: controller.signal, onProgress: () => controller.abort() })),
      );
      expect(error.code).toBe('ABORTED');
    }
  });
});
