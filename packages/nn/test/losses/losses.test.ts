import { cast, mul, scope, type Tensor, tensor, valueAndGrad } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { expect, test } from 'vitest';
import { binaryCrossEntropy, meanSquaredError } from '../../src/index.js';

type Loss = (x: Tensor, y: Tensor) => Tensor;

const logits = [-30, -2.5, -0.5, 0, 0.75, 3, 100];
const targets = [0, 1, 0.25, 0.5, 1, 0, 1];

/** The loss and its gradients for a doubled loss, halved again: whether the upstream gradient is used. */
async function made(loss: Loss, dtype: 'f32' | 'f16' = 'f32') {
  const backend = createReferenceBackend();
  const parameters = { x: tensor(backend, logits, [7, 1]), y: tensor(backend, targets, [7, 1]) };
  const { value, gradients } = valueAndGrad(({ x, y }: { readonly x: Tensor; readonly y: Tensor }) =>
    scope(() => mul(loss(cast(x, dtype), cast(y, dtype)), 2)),
  )(parameters);
  const read = async (one: Tensor): Promise<number[]> => Array.from(await one.data(), (each) => each / 2);
  const got = { loss: (await read(value))[0], x: await read(gradients.x), y: await read(gradients.y) };
  for (const one of [value, gradients.x, gradients.y, parameters.x, parameters.y]) one.dispose();
  expect(backend.memory().live).toBe(0);
  return got;
}

function expectClose(got: readonly number[], expected: readonly number[], digits: number): void {
  for (const [at, one] of expected.entries()) expect(got[at], `place ${at}`).toBeCloseTo(one, digits);
}

// Expected: torch 2.13.0, float64, of the numbers above.
const torch = {
  binaryCrossEntropy: {
    loss: 1.0437960366744765,
    x: [
      ...[1.336803281262757e-14, -0.1320202599969652, 0.018220095542592202, 0],
      ...[-0.04583161440351529, 0.1360820181174905, 0],
    ],
    y: [
      ...[4.285714285714286, 0.35714285714285715, 0.07142857142857142, 0],
      ...[-0.10714285714285714, -0.42857142857142855, -14.285714285714286],
    ],
  },
  meanSquaredError: {
    loss: 1531.875,
    x: [
      ...[-8.571428571428571, -1, -0.21428571428571427, -0.14285714285714285],
      ...[-0.07142857142857142, 0.8571428571428571, 28.285714285714285],
    ],
  },
};

test.each(['f32', 'f16'] as const)('binary cross entropy of logits, as in PyTorch, %s', async (dtype) => {
  const got = await made(binaryCrossEntropy, dtype);
  const { loss, x, y } = torch.binaryCrossEntropy;
  expect(got.loss).toBeCloseTo(loss, 6);
  expectClose(got.x, x, dtype === 'f32' ? 6 : 3);
  expectClose(got.y, y, dtype === 'f32' ? 5 : 2);
});

test.each(['f32', 'f16'] as const)('mean squared error, as in PyTorch, %s', async (dtype) => {
  const got = await made(meanSquaredError, dtype);
  const { loss, x } = torch.meanSquaredError;
  expect(got.loss).toBeCloseTo(loss, 3);
  expectClose(got.x, x, dtype === 'f32' ? 5 : 1);
  expectClose(
    got.y,
    x.map((one) => -one),
    dtype === 'f32' ? 5 : 1,
  );
});

test('losses of tensors that do not match are refused', () => {
  const backend = createReferenceBackend();
  const x = tensor(backend, [1, 2], [2]);
  const others = { row: tensor(backend, [1, 2], [1, 2]), whole: tensor(backend, [1, 0], [2], 'i32') };
  for (const loss of [meanSquaredError, binaryCrossEntropy]) {
    for (const other of Object.values(others)) {
      expect(() => loss(x, other)).toThrow(expect.objectContaining({ code: 'SHAPE_MISMATCH' }));
    }
  }
});
