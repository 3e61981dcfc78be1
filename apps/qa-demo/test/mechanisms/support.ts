import {
  add,
  type Backend,
  mul,
  scope,
  sub,
  sum,
  type Tensor,
  tensor,
  valueAndGrad,
} from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import * as mechanisms from '@topk-attention/mechanisms';
import {
  attentionLayer,
  contextOf,
  initialize,
  type Mechanism,
  type ParameterTree,
  seedsFrom,
  trainableExcept,
  withLosses,
} from '@topk-attention/nn';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

interface Case {
  readonly mechanism: Mechanism;
  readonly causal?: boolean;
}

const cases: { readonly [name: string]: Case } = {
  SimpleTRON: { mechanism: mechanisms.simpleTron({ chunk: 4 }) },
  'SimpleTRON, causal': { mechanism: mechanisms.simpleTron({ chunk: 4 }), causal: true },
  sigmoid: { mechanism: mechanisms.sigmoidAttention({ length: 9, qkNorm: true }), causal: true },
  'Fastmax, order 1': { mechanism: mechanisms.fastmax({ order: 1 }), causal: true },
  'Fastmax, order 2': { mechanism: mechanisms.fastmax() },
  RFA: { mechanism: mechanisms.rfa({ features: 16 }) },
  // Sums of sines and cosines that gates leave small are divisors: with few features a step amplifies rounding.
  'RFA-Gate': {
    mechanism: mechanisms.rfa({ features: 128, gate: true, chunk: 4, floor: 0.05 }),
    causal: true,
  },
  'trainable kernel': { mechanism: mechanisms.trainableKernel({ layers: 2, penalty: 0.1 }) },
  entmax: { mechanism: mechanisms.entmaxAttention(), causal: true },
  Sparsefinder: { mechanism: mechanisms.sparsefinder({ edges: 5, by: 'clusters' }), causal: true },
  SBM: { mechanism: mechanisms.sbm({ clusters: 4, edges: 8, exploration: 0.3 }) },
  SOFT: { mechanism: mechanisms.soft({ landmarks: 3, normalise: true }) },
  'relative kernel': { mechanism: mechanisms.relativeKernel({ length: 6, features: 8 }), causal: true },
};

const x = Float64Array.from({ length: 2 * 9 * 8 }, (_, at) => Math.sin(1.7 * at) * 0.9);

/** What a layer gives, and its parameters after a step of training, as numbers. */
async function trained(backend: Backend, { mechanism, causal = false }: Case): Promise<number[][]> {
  const layer = attentionLayer({ width: 8, heads: 2, causal, mechanism });
  const parameters = initialize(backend, layer, 3);
  const input = tensor(backend, x, [2, 9, 8]);
  const inputs = mechanism.takes.includes('keyLengths')
    ? { keyLengths: tensor(backend, Int32Array.of(9, 7), [2]) }
    : {};
  const isTrainable = trainableExcept(layer);
  const { value, gradients } = valueAndGrad((of: ParameterTree) => {
    const run = { training: true, seeds: seedsFrom(5) };
    const { output, loss } = withLosses(contextOf(of, run), (context) => {
      const made = layer.apply(context, input, inputs);
      return sum(mul(made, made));
    });
    return loss === undefined ? output : add(output, loss);
  })(parameters);
  const stepped: ParameterTree = scope(() =>
    Object.fromEntries(
      Object.entries(parameters).map(([name, one]) => [
        name,
        isTrainable(name) ? sub(one, mul(gradients[name] as Tensor, 0.05)) : one.alias(),
      ]),
    ),
  );
  const after = layer.apply(contextOf(stepped), input, inputs);
  const read = [value, after, ...Object.values(gradients)];
  return Promise.all(read.map(async (one) => Array.from(await one.data(), Number)));
}

/** Every mechanism on a backend: forward, backward and a step of training, against the reference. */
export function testMechanisms(name: string, create: () => Backend | Promise<Backend>): void {
  describe(name, () => {
    let backend: Backend;
    beforeAll(async () => {
      backend = await create();
    });
    afterAll(() => backend?.dispose());

    test.each(Object.entries(cases))('%s', async (_name, one) => {
      const [made, expected] = [await trained(backend, one), await trained(createReferenceBackend(), one)];
      for (const [at, numbers] of expected.entries()) {
        const scale = Math.max(1, ...numbers.map(Math.abs));
        for (const [place, number] of numbers.entries()) {
          const difference = Math.abs((made[at]?.[place] as number) - number);
          expect(difference / scale, `tensor ${at}, element ${place}`).toBeLessThan(2e-4);
        }
      }
    });
  });
}
