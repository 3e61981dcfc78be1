import { loadTf } from '@topk-attention/app-kit/backends';
import { type Backend, mul, sum, type Tensor, tensor, valueAndGrad } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import {
  contextOf,
  encoderStack,
  exact,
  initialize,
  type Mechanism,
  type ParameterTree,
  performer,
  seedsFrom,
  stateDict,
  topK,
} from '@topk-attention/nn';
import { createOnnxRuntimeBackend } from '@topk-attention/onnxruntime';
import { createTfjsBackend } from '@topk-attention/tfjs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

// Layers of nn on real engines: first values have the same bits, outputs and gradients the same numbers.

const engines: readonly [string, () => Promise<Backend>][] = [
  ['onnxruntime', async () => createOnnxRuntimeBackend({ threads: 1 })],
  [
    'tfjs',
    async () => {
      const { tf, name } = await loadTf('cpu', 1);
      return createTfjsBackend({ tf, engine: name });
    },
  ],
];
const mechanisms: { readonly [name: string]: Mechanism } = {
  exact: exact(),
  'top-k': topK({ k: 3 }),
  performer: performer({ features: 8 }),
  'performer, causal': performer({ features: 8, chunk: 4 }),
};

const stackOf = (name: string) =>
  encoderStack({
    ...{ layers: 2, width: 8, heads: 2, hidden: 12, normFirst: true },
    attention: {
      mechanism: mechanisms[name] as Mechanism,
      keyValueHeads: 1,
      rotary: {},
      causal: name.endsWith('causal'),
    },
    feedForward: { activation: 'gelu', gated: true },
  });

/** Loss and gradients of a step of training, and the first values. */
async function stepOn(backend: Backend, name: string): Promise<{ [name: string]: ArrayLike<number> }> {
  const stack = stackOf(name);
  const parameters = initialize(backend, stack, 7);
  const x = tensor(
    backend,
    Float32Array.from({ length: 112 }, (_, i) => Math.sin(i)),
    [2, 7, 8],
  );
  const keyLengths = tensor(backend, Int32Array.of(7, 4), [2]);
  const { value, gradients } = valueAndGrad((of: ParameterTree): Tensor => {
    const y = stack.apply(contextOf(of, { training: true, seeds: seedsFrom(1) }), x, { keyLengths });
    return sum(mul(y, y));
  })(parameters);
  const numbers: { [name: string]: ArrayLike<number> } = { loss: (await value.data()) as Float32Array };
  for (const [own, gradient] of Object.entries(gradients)) {
    numbers[own] = (await gradient.data()) as Float32Array;
  }
  return numbers;
}

describe.each(engines)('%s', (_, create) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
  });
  afterAll(() => backend.dispose());
  const reference = createReferenceBackend();

  test('first values have the same bits', async () => {
    const stack = stackOf('performer');
    const [own, expected] = [backend, reference].map((one) => stateDict(initialize(one, stack, 7)));
    expect(await own).toEqual(await expected);
  });

  test.each(Object.keys(mechanisms))('a step of training: %s', async (name) => {
    const [made, expected] = [await stepOn(backend, name), await stepOn(reference, name)];
    expect(Object.keys(made)).toEqual(Object.keys(expected));
    for (const [own, numbers] of Object.entries(expected)) {
      const scale = Math.max(1, ...Array.from(numbers, Math.abs));
      for (let at = 0; at < numbers.length; at++) {
        const difference = Math.abs((made[own]?.[at] as number) - (numbers[at] as number));
        expect(difference, `${own}[${at}]`).toBeLessThan(2e-5 * scale);
      }
    }
  });
});
