import { type Tensor, zeros } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { storiesModel } from '@topk-attention/t5-goldens';
import { randomBelow } from '@topk-attention/vitest-preset/random';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CausalLM, createCausalLM, loadCausalLM } from '../../src/index.js';
import { createInspector, type Inspector, type ValueIndex } from '../../src/inspect/index.js';
import { sphericalKMeans } from '../../src/inspect/k-means.js';
import { Interruption } from '../../src/interruption.js';
import { errorOf } from '../support/errors.js';
import { tinyCausalConfig, tinyCausalParameters } from '../support/tiny-causal.js';

const backend = createReferenceBackend();
let model: CausalLM;
let inspector: Inspector;
let index: ValueIndex;
beforeAll(async () => {
  model = await loadCausalLM({
    backend,
    source: storiesModel,
    feedForward: { k: 16, select: 'contribution' },
  });
  inspector = createInspector(model);
  index = await inspector.index();
});
afterAll(() => model.dispose());

describe('a trained Llama', () => {
  test('the last layer predicts what the model writes, and its units are few', async () => {
    const prompt = 'Once upon a time, there was a little';
    const { layers, tokens } = await inspector.inspect(prompt);
    expect(layers).toHaveLength(inspector.layers);
    expect(tokens.join(' ')).toContain('little');
    const { ids } = await model.generate(prompt, { maxNewTokens: 1 });
    const last = layers.at(-1);
    expect(last?.after[0]?.id).toBe(ids[0]);
    for (const { active, subUpdates } of layers) {
      expect(active).toBeLessThanOrEqual(16);
      expect(subUpdates).toHaveLength(Math.min(10, active));
    }
  });

  test('only the layers that are asked for are reported', async () => {
    const all = await inspector.inspect('Once upon a time', { topTokens: 3 });
    const some = await inspector.inspect('Once upon a time', { topTokens: 3, layers: [2, 0] });
    expect(some.layers).toEqual([all.layers[2], all.layers[0]]);
  });

  test('hooks change what is generated, for as long as they are passed', async () => {
    const prompt = 'Once upon a time, there was';
    const plain = await model.generate(prompt, { maxNewTokens: 4 });
    const interventions = [
      { layer: 4, unit: 3, coefficient: 40 },
      { layer: 4, unit: 9, coefficient: -40 },
    ];
    const trace = inspector.hooks(interventions);
    const changed = await model.generate(prompt, { maxNewTokens: 4, trace });
    expect(changed.ids).not.toEqual(plain.ids);
    const { layers } = await inspector.inspect(prompt, { interventions });
    expect(layers.at(-1)?.after[0]?.id).toBe(changed.ids[0]);
    expect((await model.generate(prompt, { maxNewTokens: 4 })).ids).toEqual(plain.ids);
  });

  test('the index finds what an exhaustive reading finds', async () => {
    expect(index.size).toBe(inspector.layers * inspector.units);
    const expected: string[] = [];
    for (let layer = 0; layer < inspector.layers; layer++) {
      for (let unit = 0; unit < inspector.units; unit++) {
        const { tokens } = await inspector.valueVector({ layer, unit });
        const words = tokens.map(({ text }) => text.toLowerCase());
        if (words.includes('was') && words.includes('she')) expected.push(`${layer} ${unit}`);
      }
    }
    expect(expected.length).toBeGreaterThan(0);
    const hits = index.search(['Was', ' she '], 10_000);
    const both = hits.filter(({ matched }) => matched.length === 2);
    expect(both.map(({ layer, unit }) => `${layer} ${unit}`).sort()).toEqual(expected.sort());
    expect(hits.slice(0, both.length)).toEqual(both);
    expect(index.search('she', 2)).toHaveLength(2);
    expect(
      index
        .search('she')[0]
        ?.tokens.slice(0, 3)
        .map((text) => text.toLowerCase()),
    ).toContain('she');
  });

  test('a search for no word, or for one that is no token, is refused', () => {
    expect(() => index.search(' ')).toThrow(expect.objectContaining({ code: 'EMPTY_SEQUENCE' }));
    expect(() => index.search(['she', 'photosynthesis'])).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION', got: "'photosynthesis'" }),
    );
    expect(() => index.search('she', 0)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
  });

  test('progress and an end by signal', async () => {
    const seen: number[] = [];
    const total = inspector.layers * inspector.units;
    await inspector.index({ topTokens: 1, onProgress: ({ done }) => seen.push(done) });
    expect(seen.at(-1)).toBe(total);
    const error = await errorOf(inspector.index({ signal: AbortSignal.abort() }));
    expect(error.code).toBe('ABORTED');
  });

  test('clusters hold every value vector once, the same for a seed', async () => {
    const options = { count: 12, seed: 3, topTokens: 4 };
    const clusters = await inspector.clusters(options);
    const members = clusters.list.flatMap((cluster) => cluster.members);
    expect(members).toHaveLength(inspector.layers * inspector.units);
    expect(new Set(members.map(({ layer, unit }) => `${layer} ${unit}`)).size).toBe(members.length);
    for (const cluster of clusters.list) {
      expect(cluster.tokens).toHaveLength(4);
      for (const member of cluster.members) expect(clusters.of(member)).toBe(cluster);
    }
    expect((await inspector.clusters(options)).list).toEqual(clusters.list);
    expect((await inspector.clusters({ ...options, seed: 4 })).list).not.toEqual(clusters.list);
    expect(() => clusters.of({ layer: 99, unit: 0 })).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }),
    );
  });

  test('more clusters than value vectors are refused', async () => {
    const error = await errorOf(inspector.clusters({ count: 1e6 }));
    expect(error).toMatchObject({ code: 'INVALID_OPTION', got: '1000000' });
  });
});

test('value vectors of zeros are in no cluster', async () => {
  const config = tinyCausalConfig('gpt2');
  const parameters = { ...tinyCausalParameters(backend, config) };
  const name = 'transformer.h.0.mlp.c_proj.weight';
  (parameters[name] as Tensor).dispose();
  parameters[name] = zeros(backend, [8, 6]);
  const own = createCausalLM(config, parameters);
  const clusters = await createInspector(own).clusters({ count: 2 });
  expect(clusters.list.flatMap(({ members }) => members)).toHaveLength(8);
  expect(clusters.of({ layer: 0, unit: 1 })).toBeUndefined();
  own.dispose();
});

describe('k-means', () => {
  const random = randomBelow(5);
  const noise = (): number => (random(2001) - 1000) / 20_000;
  /** Rows around three directions, in turn. */
  const rows = Array.from({ length: 60 }, (_, at) => {
    const row = Float64Array.from([0, 1, 2, 3], (d) => (d === at % 3 ? 1 : 0) + noise());
    const length = Math.hypot(...row);
    return row.map((x) => x / length);
  });
  const group = (count: number, seed: number) =>
    sphericalKMeans(rows, count, seed, 50, new Interruption('test', undefined));

  test('finds the directions that are there', async () => {
    const { groups } = await group(3, 1);
    for (const [at, own] of groups.entries()) expect(own).toBe(groups[at % 3]);
    expect(new Set(groups).size).toBe(3);
  });

  test('ends where each row is nearest to its own center, and each center is the mean direction', async () => {
    const { groups, centers, cosines } = await group(5, 2);
    for (const [at, row] of rows.entries()) {
      const all = centers.map((center) => row.reduce((sum, x, d) => sum + x * (center[d] as number), 0));
      expect(all[groups[at] as number]).toBeCloseTo(Math.max(...all), 12);
      expect(cosines[at]).toBeCloseTo(Math.max(...all), 12);
    }
    for (const [own, center] of centers.entries()) {
      const sum = [0, 1, 2, 3].map((d) =>
        rows.reduce((total, row, at) => total + (groups[at] === own ? (row[d] as number) : 0), 0),
      );
      for (const [d, x] of sum.entries()) expect(center[d]).toBeCloseTo(x / Math.hypot(...sum), 12);
    }
  });

  test('as many groups as rows are a row each', async () => {
    const { groups } = await group(60, 3);
    expect(new Set(groups).size).toBe(60);
  });
});
