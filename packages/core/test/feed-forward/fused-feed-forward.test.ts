import { expect, test } from 'vitest';
import type { FusedOperation } from '../../src/backend-entry.js';
import {
  type Backend,
  type DeviceLimits,
  explainFeedForward,
  type FeedForwardRequest,
  pullback,
  type Tensor,
  tensor,
  topKFeedForward,
} from '../../src/index.js';
import { createReferenceBackend } from '../../src/reference/index.js';

const sizes = { tokens: 4, inputDim: 3, hidden: 8, outputDim: 2 };
const values = (size: number): number[] => Array.from({ length: size }, (_, i) => Math.sin(3 * i + 1));

type Operation = FusedOperation<FeedForwardRequest, never, object>;

/** A reference backend with some of its fused operations, and which of them ran. */
function backendWith(choose: (fused: Fused) => object): { backend: Backend; ran: string[] } {
  const { fused, ...whole } = createReferenceBackend();
  const ran: string[] = [];
  const recorded = ([name, one]: [string, Operation]): [string, Operation] => [
    name,
    {
      prepare(request, limits) {
        const prepared = one.prepare(request, limits);
        if ('refusals' in prepared) return prepared;
        return {
          ...prepared,
          run: (inputs, chunk) => {
            ran.push(name);
            return prepared.run(inputs, chunk);
          },
        };
      },
    },
  ];
  const chosen = Object.entries(choose((fused ?? {}) as Fused)).map(recorded);
  return { backend: { ...whole, fused: Object.fromEntries(chosen) } as Backend, ran };
}

interface Fused {
  readonly feedForward: Operation;
  readonly feedForwardBackward: Operation;
}

async function gradients(backend: Backend): Promise<number[][]> {
  const { tokens, inputDim, hidden, outputDim } = sizes;
  const make = (...shape: number[]): Tensor =>
    tensor(backend, values(shape.reduce((a, b) => a * b, 1)), shape);
  const parameters = {
    x: make(tokens, inputDim),
    wIn: make(inputDim, hidden),
    bIn: make(hidden),
    wGate: make(inputDim, hidden),
    wOut: make(hidden, outputDim),
    bOut: make(outputDim),
  };
  const pulled = pullback(
    ({ x, ...weights }: typeof parameters) => topKFeedForward(x, weights, { k: 3, activation: 'silu' }),
    parameters,
  );
  const made = pulled.backward(make(tokens, outputDim));
  return Promise.all(
    [pulled.output, made.x, made.wIn, made.bIn, made.wGate, made.wOut, made.bOut].map(async (one) => [
      ...(await (one as Tensor).data()),
    ]),
  );
}

test('training runs the fused layer only where its gradients are fused too', async () => {
  const both = backendWith(({ feedForward, feedForwardBackward }) => ({ feedForward, feedForwardBackward }));
  const forwardOnly = backendWith(({ feedForward }) => ({ feedForward }));
  const backwardOnly = backendWith(({ feedForwardBackward }) => ({ feedForwardBackward }));
  const wanted = await gradients(createReferenceBackend({ fused: false }));
  for (const { backend, ran } of [both, forwardOnly, backwardOnly]) {
    const got = await gradients(backend);
    for (const [role, list] of got.entries()) {
      for (const [i, value] of list.entries()) expect(value).toBeCloseTo(wanted[role]?.[i] as number, 5);
    }
    expect(ran).toEqual(backend === both.backend ? ['feedForward', 'feedForwardBackward'] : []);
  }
  const pathOf = (backend: Backend, training: boolean): string =>
    explainFeedForward(backend, sizes, { k: 3, training }).path;
  expect(pathOf(both.backend, true)).toBe('fused');
  expect(pathOf(forwardOnly.backend, true)).toBe('composed');
  expect(pathOf(forwardOnly.backend, false)).toBe('fused');
});

test('each pass is asked once in a call, the backward pass included', async () => {
  const { fused, ...whole } = createReferenceBackend();
  const asked: string[] = [];
  const counted = Object.entries(fused ?? {}).map(([name, one]) => [
    name,
    {
      prepare(request: never, limits: DeviceLimits) {
        asked.push(name);
        return one?.prepare(request, limits);
      },
    },
  ]);
  await gradients({ ...whole, fused: Object.fromEntries(counted) } as Backend);
  expect(asked.sort()).toEqual(['feedForward', 'feedForwardBackward']);
});

test('explain says why training is composed', () => {
  const { backend } = backendWith(({ feedForward }) => ({ feedForward }));
  const { paths, backward } = explainFeedForward(backend, sizes, { k: 3, training: true });
  const reason = 'reference has no fused backward pass of this operation';
  expect(paths[0]?.refusals).toEqual([`training: ${reason}`]);
  expect(backward?.paths[0]?.refusals).toEqual([reason]);
});

test('gradients that the backend refuses are made of primitives, and so is the layer', async () => {
  const { backend, ran } = backendWith(({ feedForward }) => ({
    feedForward,
    feedForwardBackward: { prepare: () => ({ refusals: ['not today'] }) },
  }));
  await gradients(backend);
  expect(ran).toEqual([]);
});
