import { expect, test } from 'vitest';
import { add, custom, grad, mul, neg, sum, type Tensor, tensor } from '../../src/index.js';
import { createReferenceBackend } from '../../src/reference/index.js';

const backend = createReferenceBackend();

/** x, whose gradient is that of -x. */
function reversed(x: Tensor): Tensor {
  const [made] = custom(
    'reversed',
    [x],
    () => ({ outputs: [x], saved: [] }),
    (_, [g]) => [g && neg(g)],
  );
  return made as Tensor;
}

/** `value`, with the gradient of x. */
function through(x: Tensor, value: Tensor): Tensor {
  const [made] = custom(
    'through',
    [x],
    () => ({ outputs: [value], saved: [] }),
    (_, [g]) => [g],
  );
  return made as Tensor;
}

async function gradientOf(loss: (x: Tensor) => Tensor): Promise<number[]> {
  const x = tensor(backend, [1, 2]);
  const g = grad((of: Tensor) => sum(loss(of)))(x);
  return Array.from(await g.data(), Number);
}

test('an input may be the output, with a gradient of its own', async () => {
  expect(await gradientOf((x) => mul(reversed(x), 3))).toEqual([-3, -3]);
  expect(await gradientOf((x) => mul(reversed(mul(x, 2)), 3))).toEqual([-6, -6]);
  const beside = (x: Tensor): Tensor => {
    const twice = mul(x, 2);
    return add(mul(reversed(twice), 3), twice);
  };
  expect(await gradientOf(beside)).toEqual([-4, -4]);
});

test('so may a tensor from outside, which stays a constant before and after', async () => {
  const rounded = tensor(backend, [4, 5]);
  const straight = (x: Tensor): Tensor => {
    const before = mul(x, rounded);
    const made = through(x, rounded);
    return add(before, mul(made, rounded));
  };
  // x r, and the product of r's two places, of which one has x's gradient.
  expect(await gradientOf(straight)).toEqual([8, 10]);
  expect(Array.from(await rounded.data())).toEqual([4, 5]);
});

test('the result of either outlives what it was made of, and nothing is left behind', async () => {
  const before = backend.memory().live;
  const x = tensor(backend, [1, 2]);
  const g = grad((of: Tensor) => {
    const made = reversed(of);
    const last = sum(mul(made, made));
    made.dispose();
    return last;
  })(x);
  expect(Array.from(await g.data())).toEqual([-2, -4]);
  expect(Array.from(await x.data())).toEqual([1, 2]);
  x.dispose();
  g.dispose();
  expect(backend.memory().live).toBe(before);
});
