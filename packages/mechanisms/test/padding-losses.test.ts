import { concat, mul, narrow, type Tensor, tensor, valueAndGrad } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import {
  attentionLayer,
  contextOf,
  initialize,
  type Mechanism,
  type MechanismCall,
  type ParameterTree,
  seedsFrom,
  withLosses,
} from '@topk-attention/nn';
import { describe, expect, test } from 'vitest';
import { sbm, sparsefinder } from '../src/index.js';
import { randomTensor } from './support/random.js';

const heads = 2;
const width = 4;

const mechanisms = {
  SBM: sbm({ clusters: 3, edges: 4, densityPenalty: 1 }),
  // A margin that each hinge is within.
  'Sparsefinder by buckets': sparsefinder({ by: 'buckets', margin: 40 }),
  'Sparsefinder by clusters': sparsefinder({ by: 'clusters', clusters: 3, margin: 40 }),
};

describe.each([
  ['f32', createReferenceBackend(), 5],
  ['f64', createReferenceBackend({ floatStorage: 'f64' }), 12],
] as const)('in %s', (_, backend, digits) => {
  /** Two tokens along different axes, so that entmax gives each itself alone: every draw is certain. */
  const tokens = tensor(
    backend,
    Float64Array.from({ length: heads * 2 * width }, (_, at) =>
      at % width === Math.floor(at / width) % 2 ? 4 : 0.3,
    ),
    [1, heads, 2, width],
  );
  const padded = (x: Tensor, hidden: number): Tensor =>
    concat([x, tensor(backend, new Float64Array(heads * 3 * width).fill(hidden), [1, heads, 3, width])], 2);
  const two = tensor(backend, Int32Array.of(2), [1]);

  const parametersOf = (mechanism: Mechanism): ParameterTree =>
    Object.fromEntries(
      Object.entries(
        mechanism.declare?.({ width: 8, heads, keyValueHeads: heads, headDim: width }) ?? {},
      ).map(([name, { shape, initializer }]) => [name, tensor(backend, initializer(shape, 3), shape)]),
    );

  /** The additional loss and its gradients, as numbers. */
  async function lossOf(
    mechanism: Mechanism,
    call: Omit<MechanismCall, 'context' | 'path'>,
  ): Promise<number[][]> {
    const { query, key } = call;
    const { value, gradients } = valueAndGrad((of: ParameterTree) => {
      const { query: q, key: k, ...parameters } = of as { query: Tensor; key: Tensor };
      const run = { training: true, seeds: seedsFrom(1) };
      const { loss } = withLosses(contextOf(parameters, run), (context) =>
        mechanism.attend({ ...call, context, path: 'self', query: q, key: k }),
      );
      return loss as Tensor;
    })({ ...parametersOf(mechanism), query, key });
    const length = Math.min(2, query.shape[2] as number);
    const own = Object.entries(gradients).map(([name, one]) =>
      name === 'query' || name === 'key' ? narrow(one, 2, 0, length) : one,
    );
    return Promise.all([value, ...own].map(async (one) => Array.from(await one.data())));
  }

  test.each(Object.entries(mechanisms))('%s: hidden tokens count for nothing', async (_, mechanism) => {
    const plain = await lossOf(mechanism, { query: tokens, key: tokens, value: tokens, options: {} });
    expect(plain[0]?.[0]).toBeGreaterThan(0.01);
    for (const hidden of [0, 7, Number.NaN]) {
      const x = padded(tokens, hidden);
      const made = await lossOf(mechanism, { query: x, key: x, value: x, options: { keyLengths: two } });
      for (const [at, numbers] of made.entries()) {
        for (const [place, number] of numbers.entries()) {
          expect(number, `${at} of ${hidden}`).toBeCloseTo(plain[at]?.[place] as number, digits);
        }
      }
    }
  });

  test.each(Object.entries(mechanisms))('%s: with a source all queries count', async (_, mechanism) => {
    // As many queries as padded keys.
    const query = mul(randomTensor(backend, 2, 1, heads, 5, width), 4);
    const own = { query, fromSource: true };
    const [first] = await lossOf(mechanism, { ...own, key: tokens, value: tokens, options: {} });
    const x = padded(tokens, Number.NaN);
    const [second] = await lossOf(mechanism, { ...own, key: x, value: x, options: { keyLengths: two } });
    const [fewer] = await lossOf(mechanism, { query, key: x, value: x, options: { keyLengths: two } });
    expect(fewer?.[0]).not.toBeCloseTo(first?.[0] as number, 4);
    // Several keys may be in a support: what is drawn of them differs.
    if (mechanism.name === 'SBM') expect(second?.[0]).toBeCloseTo(first?.[0] as number, digits);
    else expect(second?.[0]).not.toBeCloseTo(fewer?.[0] as number, 4);
  });

  test('a layer says whether it has a source', async () => {
    const layer = attentionLayer({ width: 8, heads, mechanism: sbm({ clusters: 3, densityPenalty: 1 }) });
    const parameters = initialize(backend, layer, 1);
    const x = randomTensor(backend, 3, 1, 5, 8);
    const density = async (source?: Tensor): Promise<number> => {
      const { loss } = withLosses(contextOf(parameters), (context) =>
        layer.apply(context, x, { keyLengths: two, ...(source && { source }) }),
      );
      return Number((await (loss as Tensor).data())[0]);
    };
    const shorter = withLosses(contextOf(parameters), (context) => layer.apply(context, narrow(x, 1, 0, 2)));
    const alone = Number((await (shorter.loss as Tensor).data())[0]);
    expect(await density()).toBeCloseTo(alone, digits);
    expect(await density(x.alias())).not.toBeCloseTo(alone, 4);
  });
});
