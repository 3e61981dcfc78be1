import { exactAttention, matmul, mul, sum, type Tensor, tensor, valueAndGrad } from '@topk-attention/core';
import {
  attentionLayer,
  contextOf,
  initialize,
  type ParameterTree,
  seedsFrom,
  withLosses,
} from '@topk-attention/nn';
import { describe, expect, test } from 'vitest';
import { sbm } from '../src/index.js';
import { sampleGraph } from '../src/sample-graph.js';
import { edgeRates } from '../src/sbm.js';
import { backend, expectNumbers, goldenCall, goldenOutput, goldenParameter } from './support/goldens.js';
import { describeLaws, differenceOf, expectClose, expectSlope } from './support/laws.js';
import { randomTensor } from './support/random.js';

const zeros = (): Tensor => tensor(backend, new Float64Array(4), [4]);
const parameters: ParameterTree = {
  clusters: goldenParameter('clusters'),
  'mlp.0.weight': goldenParameter('first'),
  'mlp.0.bias': zeros(),
  'mlp.1.weight': goldenParameter('second'),
  'mlp.1.bias': zeros(),
};

test('expected edges are those of the block model', async () => {
  const { query, key } = edgeRates(goldenCall(parameters), 0);
  await expectNumbers(matmul(query, key, { transposeB: true }), goldenOutput('sbm, edges'));
  const more = edgeRates(goldenCall(parameters), 0.25);
  const shifted = goldenOutput('sbm, edges').map((edges) => edges + 0.25);
  await expectNumbers(matmul(more.query, more.key, { transposeB: true }), shifted);
});

test('a hidden key has no edges', async () => {
  const keyLengths = tensor(backend, Int32Array.of(5), [1]);
  const { query, key } = edgeRates(goldenCall(parameters, { keyLengths }), 0.25);
  const rates = await matmul(query, key, { transposeB: true }).data();
  for (const [at, rate] of rates.entries()) {
    if (at % 7 >= 5) expect(rate).toBe(0);
    else expect(rate).toBeGreaterThan(0.25);
  }
});

describe('the sampled graph', () => {
  const [queries, keys, columns, draws] = [3, 5, 4, 5000];
  const query = randomTensor(backend, 3, 1, 1, queries, columns);
  const key = randomTensor(backend, 4, 1, 1, keys, columns);

  test('has each edge as often as it should: 1 - exp(-rate), within four deviations', async () => {
    const positive = async (one: Tensor): Promise<Float64Array> =>
      Float64Array.from(await one.data(), (value) => Math.abs(value) / 2);
    const [q, k] = await Promise.all([positive(query), positive(key)]);
    // As many examples as draws: each has random numbers of its own.
    const repeated = (of: Float64Array, rows: number): Tensor =>
      tensor(
        backend,
        Float64Array.from({ length: draws * of.length }, (_, at) => of[at % of.length] as number),
        [draws, 1, rows, columns],
      );
    const graph = sampleGraph({ query: repeated(q, queries), key: repeated(k, keys) }, 24, 7);
    const indices = await graph.data();
    const counts = new Float64Array(queries * keys);
    for (let row = 0; row < draws * queries; row++) {
      const own = Array.from(indices.subarray(row * 24, (row + 1) * 24)).filter((index) => index >= 0);
      for (const index of new Set(own))
        counts[(row % queries) * keys + index] = (counts[(row % queries) * keys + index] ?? 0) + 1;
    }
    for (let i = 0; i < queries; i++) {
      for (let j = 0; j < keys; j++) {
        let rate = 0;
        for (let c = 0; c < columns; c++)
          rate += (q[i * columns + c] as number) * (k[j * columns + c] as number);
        const chance = 1 - Math.exp(-rate);
        const deviation = Math.sqrt((chance * (1 - chance)) / draws);
        const found = (counts[i * keys + j] as number) / draws;
        expect(Math.abs(found - chance), `edge ${i} ${j}`).toBeLessThan(4 * deviation);
      }
    }
  });

  test('never holds a key of rate 0, and lists all of a large rate', async () => {
    const rates = {
      query: tensor(backend, [50, 0, 50, 50], [1, 1, 2, 2]),
      key: tensor(backend, [1, 0, 0, 0, 1, 0, 0, 1, 0, 0], [1, 1, 5, 2]),
    };
    const rows = await sampleGraph(rates, 40, 1).data();
    const keysOf = (row: number): number[] =>
      [...new Set(rows.subarray(row * 40, row * 40 + 40))].filter((index) => index >= 0).sort();
    expect(keysOf(0)).toEqual([0, 2]);
    expect(keysOf(1)).toEqual([0, 2, 3]);
  });

  test('is empty where all rates are 0', async () => {
    const none = tensor(backend, new Float64Array(8), [1, 1, 2, 4]);
    expect(Array.from(await sampleGraph({ query: none, key: none }, 3, 1).data())).toEqual([
      -1, -1, -1, -1, -1, -1,
    ]);
  });
});

describe('attention', () => {
  test('with every edge it is exact attention', async () => {
    const call = goldenCall(parameters);
    // 200 draws of 7 keys at almost equal rates miss one of them with a chance of 1e-12.
    const mechanism = sbm({ clusters: 5, edges: 200, exploration: 1000 });
    await expectClose(mechanism.attend(call), exactAttention(call.query, call.key, call.value));
  });

  test('is softmax over the graph that it draws, and repeats itself', async () => {
    const layer = attentionLayer({
      width: 8,
      heads: 2,
      mechanism: sbm({ clusters: 3, edges: 4, exploration: 0.3 }),
    });
    const context = contextOf(initialize(backend, layer, 1));
    const x = randomTensor(backend, 1, 1, 9, 8);
    const [one, again] = [layer.apply(context, x), layer.apply(context, x)];
    await expectClose(one, again, 15);
    const seeded = layer.apply({ ...context, seeds: seedsFrom(4) }, x);
    expect(await differenceOf(one, seeded)).toBeGreaterThan(1e-3);
  });

  test('training without seeds is refused', () => {
    const layer = attentionLayer({ width: 8, heads: 2, mechanism: sbm({ clusters: 3 }) });
    const context = { ...contextOf(initialize(backend, layer, 1)), training: true };
    const train = (): unknown => layer.apply(context, randomTensor(backend, 1, 1, 9, 8));
    expect(train).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
    expect(train).toThrow(/^sbm: random draws need seeds/);
  });
});

describe('gradients', () => {
  test('the density has that of finite differences', async () => {
    const mechanism = sbm({ clusters: 5, densityPenalty: 1 });
    const density = (of: ParameterTree): Tensor => {
      const { loss } = withLosses(contextOf(of), (context) =>
        mechanism.attend({ ...goldenCall(of), context }),
      );
      return loss as Tensor;
    };
    const { gradients, value } = valueAndGrad(density)(parameters);
    const edges = goldenOutput('sbm, edges');
    const mean = edges.reduce((all, one) => all + one, 0) / edges.length + 0.01;
    expect((await value.data())[0]).toBeCloseTo(mean, 11);
    for (const name of Object.keys(parameters)) await expectSlope(density, parameters, gradients, name, 7);
  });

  test('of no examples the density is 0', async () => {
    const layer = attentionLayer({ width: 8, heads: 2, mechanism: sbm({ clusters: 3, densityPenalty: 1 }) });
    const { loss } = withLosses(contextOf(initialize(backend, layer, 1)), (context) =>
      layer.apply(context, tensor(backend, new Float64Array(0), [0, 9, 8])),
    );
    expect(await (loss as Tensor).data()).toEqual(Float64Array.of(0));
  });

  test('straight through: an edge passes the gradient of its weight on, clipped', async () => {
    // One query of two keys, both listed. p = softmax(0, log 3) = (1/4, 3/4), values 0 and 4, so that the output is 3 and the
    // gradients of the logarithms of the edges are p_j (v_j - 3): -3/4 and 3/4. Times a cotangent of 4: -3 and 3, clipped.
    const query = tensor(backend, Float64Array.of(1), [1, 1, 1, 1]);
    const key = tensor(backend, Float64Array.of(0, Math.log(3)), [1, 1, 2, 1]);
    const value = tensor(backend, Float64Array.of(0, 4), [1, 1, 2, 1]);
    const own = {
      clusters: tensor(backend, Float64Array.of(0), [1, 1, 1]),
      'mlp.0.weight': tensor(backend, Float64Array.of(1), [1, 1]),
      'mlp.0.bias': tensor(backend, Float64Array.of(0), [1]),
      'mlp.1.weight': tensor(backend, Float64Array.of(1), [1, 1]),
      'mlp.1.bias': tensor(backend, Float64Array.of(1), [1]),
    };
    const gradientOf = async (factor: number): Promise<number> => {
      const { gradients } = valueAndGrad((of: ParameterTree) => {
        const mechanism = sbm({ clusters: 1, edges: 2, exploration: 500, densityPenalty: 0, seed });
        const call = { ...goldenCall(of), query, key, value };
        return mul(sum(mechanism.attend(call)), factor);
      })(own);
      return Number((await (gradients.clusters as Tensor).data())[0]);
    };
    // A seed that lists both keys in two draws: the output is 3.
    let seed = 0;
    const outputOf = async (): Promise<number> =>
      Number(
        (
          await sbm({ clusters: 1, edges: 2, exploration: 500, densityPenalty: 0, seed })
            .attend({ ...goldenCall(own), query, key, value })
            .data()
        )[0],
      );
    while (Math.abs((await outputOf()) - 3) > 1e-9) seed++;
    // E_j = sigmoid(m_q c) sigmoid(m_k c) with c = 0, m_q = 2, m_k = 1 + relu(k): dE_j / dc = (m_q + m_k) / 8.
    const slopes = [(2 + 1) / 8, (2 + 1 + Math.log(3)) / 8] as const;
    expect(await gradientOf(0.5)).toBeCloseTo(-0.375 * slopes[0] + 0.375 * slopes[1], 12);
    expect(await gradientOf(4)).toBeCloseTo(-slopes[0] + slopes[1], 12);
  });
});

describe('wrong use', () => {
  test.each([{ clusters: 0 }, { edges: 0 }, { exploration: -1 }, { seed: 0.5 }])('%o', (options) => {
    expect(() => sbm(options)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
  });
});

describeLaws('SBM', sbm({ clusters: 4, edges: 8, exploration: 0.3 }), { smooth: false });
