import { expect, test } from 'vitest';
import {
  type Backend,
  type BackendTensor,
  type FusedOperations,
  type LinearGradientRequest,
  sizeOf,
} from '../../src/backend-entry.js';
import { add, grad, linear, mul, neg, pullback, scope, sum, type Tensor, tensor } from '../../src/index.js';
import { createReferenceBackend } from '../../src/reference/index.js';

/** The reference backend with linear layers, without activations, as a whole; `asked` are requests for gradients. */
function backendWith(refusals: readonly string[], asked: LinearGradientRequest[] = []): Backend {
  const reference = createReferenceBackend() as Backend;
  const fused: FusedOperations<BackendTensor> = {
    linear: {
      prepare: ({ transposeWeight }) => ({
        scratchBytes: () => 0,
        run({ x, weight, bias }) {
          const product = reference.matmul(x, weight, false, transposeWeight);
          if (bias === undefined) return { output: product };
          const output = reference.binary('add', product, bias);
          reference.release(product);
          return { output };
        },
      }),
    },
    linearGradient: {
      prepare: (request) => {
        if (refusals.length > 0) return { refusals };
        return {
          scratchBytes: () => 0,
          run({ x, dOutput }) {
            asked.push(request);
            const [a, b] = request.transposeWeight ? [dOutput, x] : [x, dOutput];
            const bias = reference.reshape(reference.sum(dOutput, [0]), [request.outputDim]);
            return { weight: reference.matmul(a, b, true, false), bias };
          },
        };
      },
    },
  };
  return { ...reference, fused };
}

const backends = (): readonly Backend[] => [
  createReferenceBackend({ fused: false }),
  backendWith(['not today']),
  backendWith([]),
];

type Given = { readonly x: Tensor; readonly weight: Tensor; readonly bias: Tensor };

function given(backend: Backend, transposeWeight: boolean): Given {
  const numbers = (length: number, phase: number): number[] =>
    Array.from({ length }, (_, i) => Math.sin(1.7 * i + phase));
  return {
    x: tensor(backend, numbers(12, 1), [2, 2, 3]),
    weight: tensor(backend, numbers(6, 2), transposeWeight ? [2, 3] : [3, 2]),
    bias: tensor(backend, numbers(2, 3)),
  };
}

const bitsOf = async (tensors: Given): Promise<Record<string, number[]>> =>
  Object.fromEntries(
    await Promise.all(Object.entries(tensors).map(async ([name, one]) => [name, [...(await one.data())]])),
  );

test('a backend that makes both gradients at once is asked for them', async () => {
  for (const transposeWeight of [false, true]) {
    const asked: LinearGradientRequest[] = [];
    const found: Record<string, number[]>[] = [];
    for (const backend of [...backends(), backendWith([], asked)]) {
      const inputs = given(backend, transposeWeight);
      const upstream = tensor(backend, [1, -2, 3, 5, 0.5, 4, -1, 2], [2, 2, 2]);
      const pulled = pullback((p: Given) => linear(p.x, p.weight, p.bias, { transposeWeight }), inputs);
      const gradients = pulled.backward(upstream);
      expect(gradients.weight.shape).toEqual(inputs.weight.shape);
      found.push(await bitsOf(gradients));
    }
    expect(found.slice(1)).toEqual(found.slice(1).map(() => found[0]));
    expect(found[0]?.bias).toEqual([3.5, 9]);
    expect(asked).toEqual([
      { rows: 4, inputDim: 3, outputDim: 2, dtype: 'f32', transposeWeight, saves: false },
    ]);
  }
});

test('without a bias it is not', async () => {
  const asked: LinearGradientRequest[] = [];
  const backend = backendWith([], asked);
  const { x, weight } = given(backend, false);
  const gradient = grad((w: Tensor) => sum(linear(x, w, undefined, { activation: 'relu' })))(weight);
  expect(gradient.shape).toEqual([3, 2]);
  expect(asked).toEqual([]);
});

test('each gradient alone is that of all, and a frozen weight makes no gradient and keeps no input', async () => {
  const asked: LinearGradientRequest[] = [];
  for (const backend of [...backends(), backendWith([], asked)]) {
    const inputs = given(backend, false);
    const all = await bitsOf(grad((p: Given) => sum(linear(p.x, p.weight, p.bias)))(inputs));
    for (const name of ['x', 'weight', 'bias'] as const) {
      asked.length = 0;
      const live = backend.memory().live;
      let kept = Number.NaN;
      const alone = grad((one: Tensor) => {
        const y = scope(() => {
          // Not alive outside but for what the layer keeps.
          const p = { ...inputs, x: neg(neg(inputs.x)), [name]: name === 'x' ? neg(neg(one)) : one };
          return linear(p.x, p.weight, p.bias);
        });
        kept = backend.memory().live - live - 4 * sizeOf(y.shape);
        return sum(y);
      })(inputs[name]);
      expect([...(await alone.data())]).toEqual(all[name]);
      expect(asked).toEqual([]);
      expect(kept).toBe(name === 'weight' ? 4 * sizeOf(inputs.x.shape) : 0);
      alone.dispose();
    }
  }
});

test('gradients of both gradients go through their ops', async () => {
  const found: Record<string, number[]>[] = [];
  for (const backend of backends()) {
    const inner = (p: Given): Tensor =>
      scope(() => {
        const y = linear(p.x, p.weight, p.bias);
        return sum(mul(y, y));
      });
    const outer = (p: Given): Tensor =>
      scope(() => {
        const { weight, bias } = grad(inner)(p);
        return add(sum(mul(weight, weight)), sum(mul(bias, bias)));
      });
    found.push(await bitsOf(grad(outer)(given(backend, false))));
  }
  expect(found.slice(1)).toEqual(found.slice(1).map(() => found[0]));
  expect(found[0]?.x?.some((one) => Math.abs(one) > 1)).toBe(true);
});

test('no rows and no inputs', async () => {
  for (const backend of backends()) {
    for (const [rows, inputDim] of [
      [0, 3],
      [2, 0],
    ] as const) {
      const inputs = {
        x: tensor(backend, new Float32Array(rows * inputDim), [rows, inputDim]),
        weight: tensor(backend, new Float32Array(inputDim * 2), [inputDim, 2]),
        bias: tensor(backend, [1, 2]),
      };
      const gradients = grad((p: Given) => sum(linear(p.x, p.weight, p.bias)))(inputs);
      expect(await bitsOf(gradients)).toEqual({
        x: new Array(rows * inputDim).fill(0),
        weight: new Array(inputDim * 2).fill(0),
        bias: [rows, rows],
      });
    }
  }
});
