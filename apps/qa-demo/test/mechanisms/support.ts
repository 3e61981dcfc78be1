import {
  add,
  type Backend,
  concat,
  mul,
  narrow,
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
  encoderStack,
  initialize,
  type Layer,
  type Mechanism,
  type ParameterTree,
  performer,
  seedsFrom,
  trainableExcept,
  withLosses,
} from '@topk-attention/nn';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

type Tested = Layer<readonly [x: Tensor, inputs?: { readonly keyLengths?: Tensor }]>;

const attending = (mechanism: Mechanism, causal = false): Tested =>
  attentionLayer({ width: 8, heads: 2, causal, mechanism });
const dropping = (mechanism: Mechanism): Tested =>
  attentionLayer({ width: 8, heads: 2, dropout: 0.2, mechanism });
/** With a mask of pairs, a bias of them where the mechanism takes one, and dropout where it does. */
const masked = (mechanism: Mechanism): Tested => {
  const takes = (ability: 'bias' | 'dropout'): boolean => mechanism.takes.includes(ability);
  const layer = attentionLayer({ width: 8, heads: 2, ...(takes('dropout') && { dropout: 0.2 }), mechanism });
  const pairs = Array.from({ length: 81 }, (_, at) => at);
  return {
    ...layer,
    apply(context, x, inputs) {
      const seen = Uint8Array.from(pairs, (at) => (at % 10 === 0 || at % 4 > 0 ? 1 : 0));
      const mask = tensor(x.backend, seen, [1, 1, 9, 9], 'bool');
      const bias = tensor(x.backend, Float64Array.from(pairs, Math.sin), [1, 1, 9, 9]);
      return layer.apply(context, x, { ...inputs, mask, ...(takes('bias') && { bias }) });
    },
  };
};
const remembering = (block: mechanisms.TwoStreamBlock): Tested =>
  mechanisms.memoryEncoder({ width: 8, memory: 3, blocks: [block] });
const sizes = { width: 8, heads: 2, hidden: 12, dropout: 0 };

const layers: { readonly [name: string]: Tested } = {
  Performer: attending(performer({ features: 16 })),
  'Performer, ReLU': attending(performer({ features: 16, kind: 'relu' }), true),
  SimpleTRON: attending(mechanisms.simpleTron({ chunk: 4 })),
  'SimpleTRON, causal': attending(mechanisms.simpleTron({ chunk: 4 }), true),
  sigmoid: attending(mechanisms.sigmoidAttention({ length: 9, qkNorm: true }), true),
  "sigmoid's block": mechanisms.sigmoidBlock({ ...sizes, layerScale: 0.1, hybridNorm: true }),
  'sigmoid, masked': masked(mechanisms.sigmoidAttention({ length: 9 })),
  'Fastmax, order 2, dropped': dropping(mechanisms.fastmax()),
  'Fastmax, order 1': attending(mechanisms.fastmax({ order: 1 }), true),
  'Fastmax, order 2': attending(mechanisms.fastmax()),
  'Fastmax, order 2, causal': attending(mechanisms.fastmax({ chunk: 4 }), true),
  'Fastmax, direct': attending(mechanisms.fastmax({ form: 'direct' }), true),
  RFA: attending(mechanisms.rfa({ features: 16 })),
  'RFA, arc-cosine': attending(mechanisms.rfa({ features: 16, kernel: 'arc-cosine', chunk: 4 }), true),
  // Sums of sines and cosines that gates leave small are divisors: with few features a step amplifies rounding.
  'RFA-Gate': attending(mechanisms.rfa({ features: 128, gate: true, chunk: 4, floor: 0.05 }), true),
  'trainable kernel': attending(mechanisms.trainableKernel({ layers: 2, penalty: 0.1 })),
  'trainable kernel, causal': attending(mechanisms.trainableKernel({ gate: 'low-rank', chunk: 4 }), true),
  entmax: attending(mechanisms.entmaxAttention(), true),
  Sparsefinder: attending(mechanisms.sparsefinder({ edges: 5, window: 1, by: 'clusters' }), true),
  'Sparsefinder by buckets': attending(mechanisms.sparsefinder({ edges: 5, window: 1 })),
  'entmax, masked': masked(mechanisms.entmaxAttention()),
  'Sparsefinder, masked': masked(mechanisms.sparsefinder({ edges: 5, window: 1 })),
  SBM: attending(mechanisms.sbm({ clusters: 4, edges: 8, exploration: 0.3 })),
  SOFT: attending(mechanisms.soft({ landmarks: 3, normalise: true })),
  'SOFT by a convolution': attending(mechanisms.soft({ ratio: 3 })),
  'relative kernel': attending(mechanisms.relativeKernel({ length: 6, features: 8 })),
  'relative kernel, causal': attending(mechanisms.relativeKernel({ length: 6, features: 8 }), true),
  'causal Luna': attending(mechanisms.causalLuna({ memory: 3, chunk: 4 }), true),
  'Luna, untied': remembering(mechanisms.lunaBlock({ ...sizes, tied: false })),
  Luna: remembering(mechanisms.lunaBlock(sizes)),
  ConvLuna: remembering(mechanisms.convLunaBlock(sizes)),
};

/** Those that decode, in causal layers. */
const decoding: { readonly [name: string]: Mechanism } = {
  Performer: performer({ features: 16, kind: 'relu' }),
  SimpleTRON: mechanisms.simpleTron({ chunk: 4 }),
  sigmoid: mechanisms.sigmoidAttention({ length: 9 }),
  'Fastmax, order 1': mechanisms.fastmax({ order: 1, chunk: 4 }),
  'Fastmax, order 2': mechanisms.fastmax({ chunk: 4 }),
  RFA: mechanisms.rfa({ features: 16, kernel: 'arc-cosine', chunk: 4 }),
  'RFA-Gate': mechanisms.rfa({ features: 128, gate: true, chunk: 4, floor: 0.05 }),
  'trainable kernel': mechanisms.trainableKernel({ chunk: 4 }),
  entmax: mechanisms.entmaxAttention(),
  Sparsefinder: mechanisms.sparsefinder({ edges: 5, window: 1 }),
  'relative kernel': mechanisms.relativeKernel({ length: 6, features: 8 }),
  'causal Luna': mechanisms.causalLuna({ memory: 3, chunk: 4 }),
};

const x = Float64Array.from({ length: 2 * 9 * 8 }, (_, at) => Math.sin(1.7 * at) * 0.9);

/** What a layer gives, and its parameters after a step of training, as numbers. */
async function trained(backend: Backend, layer: Tested): Promise<number[][]> {
  const parameters = initialize(backend, layer, 3);
  const input = tensor(backend, x, [2, 9, 8]);
  const inputs = { keyLengths: tensor(backend, Int32Array.of(9, 7), [2]) };
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

/** Every mechanism on a backend: forward, backward and a step of training, against the reference; and decoding. */
export function testMechanisms(name: string, create: () => Backend | Promise<Backend>): void {
  describe(name, () => {
    let backend: Backend;
    beforeAll(async () => {
      backend = await create();
    });
    afterAll(() => backend?.dispose());

    test.each(Object.entries(decoding))('%s step by step is as at once', async (_name, mechanism) => {
      const stack = encoderStack({ ...sizes, layers: 2, attention: { mechanism, causal: true } });
      const context = contextOf(initialize(backend, stack, 6));
      const input = tensor(backend, x, [2, 9, 8]);
      const whole = Array.from(await stack.apply(context, input).data());
      const first = stack.step(context, narrow(input, 1, 0, 4));
      const next = stack.step(context, narrow(input, 1, 4, 1), first.states);
      const last = stack.step(context, narrow(input, 1, 5, 4), next.states);
      const made = await concat([first.output, next.output, last.output], 1).data();
      const largest = Math.max(...whole.map(Math.abs));
      for (const [at, value] of whole.entries())
        expect(Math.abs((made[at] as number) - value) / largest, `element ${at}`).toBeLessThan(2e-4);
    });

    test.each(Object.entries(layers))('%s', async (_name, one) => {
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
