import { mul, sub, sum, type Tensor, tensor, valueAndGrad, zeros } from '@topk-attention/core';
import {
  attentionLayer,
  contextOf,
  initialize,
  type MechanismCall,
  type ParameterTree,
  seedsFrom,
  withLosses,
} from '@topk-attention/nn';
import { optional, thoroughAvailability } from '@topk-attention/vitest-preset';
import { describe, expect, test } from 'vitest';
import {
  entmaxAttention,
  type GraphQuality,
  graphQuality,
  type SparsefinderOptions,
  sparsefinder,
} from '../src/index.js';
import { backend, goldenCall } from './support/goldens.js';
import { describeLaws, expectClose, expectSlope } from './support/laws.js';
import { randomTensor } from './support/random.js';

const heads = 2;
const sizes = { width: 8, heads, keyValueHeads: heads, headDim: 4 };
const names = ['buckets', 'clusters', 'distance'] as const;
const own = { buckets: {}, clusters: { clusters: 5 }, distance: { radius: 2 } } as const;

function parametersOf(options: SparsefinderOptions, seed = 3): ParameterTree {
  const declared = sparsefinder(options).declare?.(sizes) ?? {};
  return Object.fromEntries(
    Object.entries(declared).map(([name, { shape, initializer }]) => [
      name,
      tensor(backend, initializer(shape, seed), shape),
    ]),
  );
}

/** A call on 40 tokens whose scores are large enough for sparse rows. */
function sparseCall(parameters: ParameterTree, training = false): MechanismCall {
  const of = (seed: number, factor: number): Tensor =>
    mul(randomTensor(backend, seed, 1, heads, 40, 4), factor);
  const context = { ...goldenCall(parameters).context, training, ...(training && { seeds: seedsFrom(2) }) };
  return { context, path: 'self', query: of(1, 4), key: of(2, 2), value: of(3, 1), options: {} };
}

test('a graph of all keys gives entmax', async () => {
  const options = { by: 'distance', radius: 1e3, edges: 40 } as const;
  const call = sparseCall(parametersOf(options));
  await expectClose(sparsefinder(options).attend(call), entmaxAttention().attend(call), 12);
});

describe.each(names)('by %s', (by) => {
  const options = { by, edges: 12, window: 1, ...own[by] } as const;
  const parameters = parametersOf(options);

  test('queries whose support is covered get what entmax gives, and the report counts them', async () => {
    const found: GraphQuality[] = [];
    const counts: Tensor[] = [];
    const mechanism = sparsefinder({
      ...options,
      onGraph: (path, own) => {
        expect(path).toBe('self');
        counts.push(own);
      },
    });
    const call = sparseCall(parameters);
    const made = await mechanism.attend(call).data();
    const whole = await entmaxAttention().attend(call).data();
    const graph = await mechanism.predictGraph(call).data();
    const [q, k] = await Promise.all([call.query.data(), call.key.data()]);
    let [support, both, listed, covered] = [0, 0, 0, 0];
    for (let row = 0; row < heads * 40; row++) {
      const head = Math.floor(row / 40);
      const scores = Array.from({ length: 40 }, (_, j) => {
        let total = 0;
        for (let c = 0; c < 4; c++)
          total += (q[row * 4 + c] as number) * (k[(head * 40 + j) * 4 + c] as number);
        return total / 4;
      });
      // Entmax's threshold by bisection.
      let [low, high] = [Math.max(...scores) - 1, Math.max(...scores)];
      for (let step = 0; step < 100; step++) {
        const middle = (low + high) / 2;
        const mass = scores.reduce((all, one) => all + Math.max(one - middle, 0) ** 2, 0);
        if (mass >= 1) low = middle;
        else high = middle;
      }
      const own = new Set(scores.flatMap((score, j) => (score > low + 1e-12 ? [j] : [])));
      const keys = Array.from(graph.subarray(row * 12, row * 12 + 12)).filter((index) => index >= 0);
      // The first key and the window are always there.
      for (const index of [0, (row % 40) - 1, row % 40, (row % 40) + 1]) {
        if (index >= 0 && index < 40) expect(keys).toContain(index);
      }
      const hit = keys.filter((index) => own.has(index)).length;
      support += own.size;
      both += hit;
      listed += keys.length;
      if (hit < own.size) continue;
      covered++;
      for (let c = 0; c < 4; c++) expect(made[row * 4 + c]).toBeCloseTo(whole[row * 4 + c] as number, 11);
    }
    found.push(await graphQuality(counts[0] as Tensor));
    expect(found[0]?.recall).toBeCloseTo(both / support, 12);
    expect(found[0]?.sparsity).toBeCloseTo(1 - listed / 3200, 12);
    expect(found[0]?.entmaxSparsity).toBeCloseTo(1 - support / 3200, 12);
    expect(found[0]?.exactQueries).toBeCloseTo(covered / 80, 12);
    expect(covered).toBeGreaterThan(0);
  });

  test('in training it is entmax, and the loss has the gradient of finite differences', async () => {
    const call = sparseCall(parameters, true);
    await expectClose(sparsefinder(options).attend(call), entmaxAttention().attend(call), 12);
    const loss = (of: ParameterTree): Tensor => {
      const own = sparseCall(of, true);
      const { loss: made } = withLosses(own.context, (context) =>
        sparsefinder(options).attend({ ...own, context }),
      );
      return made as Tensor;
    };
    const { gradients } = valueAndGrad(loss)(parameters);
    // The loss of centroids reaches them alone.
    const names = by === 'clusters' ? ['centroids'] : ['projection'];
    for (const name of names) await expectSlope(loss, parameters, gradients, name, 7);
  });

  const title = 'training the predictor covers more of the support for what it lists';
  optional(title, by === 'distance' ? [] : thoroughAvailability(), async () => {
    const qualityOf = async (of: ParameterTree): Promise<GraphQuality> => {
      const counts: Tensor[] = [];
      // By distance: the 12 nearest.
      const settings = {
        ...options,
        ...(by === 'distance' && { radius: 1e3 }),
        window: 0,
        first: 0,
        onGraph: (_: string, own: Tensor) => counts.push(own),
      };
      sparsefinder(settings).attend(sparseCall(of));
      return graphQuality(counts[0] as Tensor);
    };
    let current = parameters;
    const before = await qualityOf(current);
    for (let step = 0; step < 100; step++) {
      const own = (of: ParameterTree): MechanismCall => {
        const call = sparseCall(of, true);
        return { ...call, context: { ...call.context, seeds: seedsFrom(step) } };
      };
      const { gradients } = valueAndGrad((of: ParameterTree) => {
        const call = own(of);
        const { loss } = withLosses(call.context, (context) =>
          sparsefinder(options).attend({ ...call, context }),
        );
        return loss as Tensor;
      })(current);
      current = Object.fromEntries(
        Object.entries(current).map(([name, one]) => [name, sub(one, mul(gradients[name] as Tensor, 0.02))]),
      );
    }
    const after = await qualityOf(current);
    // A random graph has a recall of its density: a sum of 1.
    const gain = ({ recall, sparsity }: GraphQuality): number => recall + sparsity;
    expect(gain(after)).toBeGreaterThan(gain(before) + 0.05);
  });

  describeLaws(`Sparsefinder by ${by}`, sparsefinder({ ...options, edges: 6 }), { smooth: false });
});

test('the gradient of the predictor moves nothing else', async () => {
  const layer = attentionLayer({ width: 8, heads: 2, mechanism: sparsefinder() });
  const parameters = initialize(backend, layer, 4);
  const x = mul(randomTensor(backend, 5, 1, 9, 8), 9);
  const { gradients } = valueAndGrad((of: ParameterTree) => {
    const run = { training: true, seeds: seedsFrom(1) };
    const { loss } = withLosses(contextOf(of, run), (context) => layer.apply(context, x));
    return loss as Tensor;
  })(parameters);
  for (const [name, gradient] of Object.entries(gradients)) {
    const total = Number((await sum(mul(gradient, gradient)).data())[0]);
    if (name === 'mechanism.projection') expect(total).toBeGreaterThan(0);
    else expect(total, name).toBe(0);
  }
});

describe('wrong use', () => {
  test('training without seeds', () => {
    const call = sparseCall(parametersOf({}));
    const train = (path: string) => (): unknown =>
      sparsefinder().attend({ ...call, path, context: { ...call.context, training: true } });
    expect(train('')).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
    expect(train('')).toThrow(/^sparsefinder: random draws need seeds/);
    expect(train('layers.0.self_attn')).toThrow(/^layers.0.self_attn: sparsefinder: random draws need seeds/);
  });

  test('fewer edges than the keys that are always there', () => {
    expect(() => sparsefinder({ edges: 4 })).toThrow(/at least 8, 2 window \+ 1 \+ first/);
    expect(() => sparsefinder({ window: 40 })).toThrow(/at least 82/);
    expect(() => sparsefinder({ edges: 8 })).not.toThrow();
    expect(() => sparsefinder({ edges: 1, window: 0, first: 0 })).not.toThrow();
  });

  test.each([
    { edges: 0 },
    { projections: 0 },
    { by: 'clusters', nearest: 3, clusters: 2 },
    { by: 'distance', radius: 0 },
    { window: -1 },
  ] as const)('%o', (options) => {
    expect(() => sparsefinder(options)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
  });

  test.each([
    [{ by: 'buckets', radius: 2 }, "radius with by: 'distance' alone"],
    [{ radius: 2 }, "radius with by: 'distance' alone"],
    [{ by: 'buckets', nearest: 2 }, "nearest with by: 'clusters' alone"],
    [{ clusters: 8 }, "clusters with by: 'clusters' alone"],
    [{ by: 'clusters', buckets: 4 }, "buckets with by: 'buckets' alone"],
  ] as const)('an option of another way: %o', (options, message) => {
    expect(() => sparsefinder(options)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
    expect(() => sparsefinder(options)).toThrow(message);
  });
});

test('the quality of a graph needs its counts', async () => {
  await expect(graphQuality(zeros(backend, [3]))).rejects.toMatchObject({ code: 'SHAPE_MISMATCH' });
});
