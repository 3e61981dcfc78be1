import { randomBits } from '@topk-attention/vitest-preset/random';
import { describe, expect, test } from 'vitest';
import {
  type Backend,
  explainToeplitzProduct,
  pullback,
  sizeOf,
  type Tensor,
  tensor,
  toeplitzProduct,
} from '../../src/index.js';
import { createReferenceBackend } from '../../src/reference/index.js';
import { fft, inverseFft } from '../../src/toeplitz/fft.js';

const backend = createReferenceBackend({ floatStorage: 'f64' });

/** Numbers in [-1, 1). */
function randomTensor(of: Backend, seed: number, ...shape: readonly number[]): Tensor {
  const next = randomBits(seed);
  return tensor(
    of,
    Float64Array.from({ length: sizeOf(shape) }, () => next() / 2 ** 31 - 1),
    shape,
  );
}

async function expectNumbers(made: Tensor, expected: readonly number[], digits: number): Promise<void> {
  const numbers = Array.from(await made.data(), Number);
  expect(numbers).toHaveLength(expected.length);
  for (const [at, value] of expected.entries()) expect(numbers[at]).toBeCloseTo(value, digits);
}

test.each([1, 2, 8, 64])(
  'the transform of %i numbers is the sum, and its inverse gives them back',
  async (length) => {
    const x = {
      real: randomTensor(backend, 1, 2, length, 3),
      imaginary: randomTensor(backend, 2, 2, length, 3),
    };
    const [a, b] = await Promise.all([x.real.data(), x.imaginary.data()]);
    const expected = { real: [] as number[], imaginary: [] as number[] };
    for (let g = 0; g < 2; g++) {
      for (let f = 0; f < length; f++) {
        for (let c = 0; c < 3; c++) {
          let [re, im] = [0, 0];
          for (let t = 0; t < length; t++) {
            const at = (g * length + t) * 3 + c;
            const angle = (-2 * Math.PI * f * t) / length;
            re += (a[at] as number) * Math.cos(angle) - (b[at] as number) * Math.sin(angle);
            im += (a[at] as number) * Math.sin(angle) + (b[at] as number) * Math.cos(angle);
          }
          expected.real.push(re);
          expected.imaginary.push(im);
        }
      }
    }
    const made = fft(x);
    await expectNumbers(made.real, expected.real, 11);
    await expectNumbers(made.imaginary, expected.imaginary, 11);
    const back = inverseFft(made);
    await expectNumbers(back.real, Array.from(a), 13);
    await expectNumbers(back.imaginary, Array.from(b), 13);
  },
);

/** By its definition. */
async function directSums(
  factors: Tensor,
  x: Tensor,
  dOutput: Tensor,
): Promise<{ readonly output: number[]; readonly factors: number[]; readonly x: number[] }> {
  const [c, values, g] = await Promise.all([factors.data(), x.data(), dOutput.data()]);
  const [batch, heads, length, columns] = x.shape as [number, number, number, number];
  const sums = {
    output: new Array<number>(x.size).fill(0),
    factors: new Array<number>(factors.size).fill(0),
    x: new Array<number>(x.size).fill(0),
  };
  const add = (to: number[], at: number, a: number | undefined, b: number | undefined): void => {
    to[at] = (to[at] as number) + (a as number) * (b as number);
  };
  for (let group = 0; group < batch * heads; group++) {
    for (let i = 0; i < length; i++) {
      for (let j = 0; j < length; j++) {
        const factor = (group % heads) * (2 * length - 1) + j - i + length - 1;
        for (let d = 0; d < columns; d++) {
          const row = (group * length + i) * columns + d;
          const source = (group * length + j) * columns + d;
          add(sums.output, row, c[factor], values[source]);
          add(sums.factors, factor, g[row], values[source]);
          add(sums.x, source, c[factor], g[row]);
        }
      }
    }
  }
  return sums;
}

describe.each([1, 2, 5, 8, 33])('%i tokens', (length) => {
  test.each([1, 2, 3])('%i columns, and their gradients, are the direct sums', async (columns) => {
    const factors = randomTensor(backend, 3, 2, 2 * length - 1);
    const x = randomTensor(backend, 4, 3, 2, length, columns);
    const cotangent = randomTensor(backend, 5, 3, 2, length, columns);
    const pulled = pullback((p) => toeplitzProduct(p.factors, p.x), { factors, x });
    const gradients = pulled.backward(cotangent);
    const expected = await directSums(factors, x, cotangent);
    await expectNumbers(pulled.output, expected.output, 11);
    await expectNumbers(gradients.factors, expected.factors, 11);
    await expectNumbers(gradients.x, expected.x, 11);
  });
});

test('in f32 a thousand tokens have an error of a few units in the last place of the largest', async () => {
  const f32 = createReferenceBackend();
  const factors = randomTensor(f32, 3, 1, 1999);
  const x = randomTensor(f32, 4, 1, 1, 1000, 1);
  const made = await toeplitzProduct(factors, x).data();
  const { output } = await directSums(factors, x, x);
  for (const [at, value] of output.entries())
    expect(Math.abs((made[at] as number) - value)).toBeLessThan(2e-5);
});

test('without sequences or columns there are none, and the gradient of the factors is 0', async () => {
  for (const shape of [
    [0, 2, 3, 4],
    [2, 2, 3, 0],
  ]) {
    const inputs = { factors: randomTensor(backend, 1, 2, 5), x: tensor(backend, [], shape) };
    const pulled = pullback((p) => toeplitzProduct(p.factors, p.x), inputs);
    expect(pulled.output.shape).toEqual(shape);
    const gradients = pulled.backward(tensor(backend, [], shape));
    await expectNumbers(gradients.factors, new Array<number>(10).fill(0), 12);
    expect(gradients.x.shape).toEqual(shape);
  }
});

test('its explanation has a path and bytes for both passes', () => {
  const shapes = { factors: [2, 199], x: [1, 2, 100, 8] };
  const { path, plan, backward, toString } = explainToeplitzProduct(backend, shapes, { training: true });
  expect([path, backward?.path]).toEqual(['composed', 'composed']);
  expect(plan.bytes).toMatchObject({ inputs: 8 * 199 + 6400, output: 6400, saved: 0 });
  expect(backward?.plan.bytes).toMatchObject({ inputs: 8 * 199 + 12_800, output: 8 * 199 + 6400 });
  expect(toString()).toContain('transforms    of 256, composed');
});

describe('wrong use', () => {
  const x = randomTensor(backend, 1, 1, 1, 2, 1);
  test.each([
    [
      'factors of another length',
      () => toeplitzProduct(tensor(backend, [1, 2], [1, 2]), x),
      'SHAPE_MISMATCH',
    ],
    ['factors of more heads', () => toeplitzProduct(randomTensor(backend, 2, 2, 3), x), 'SHAPE_MISMATCH'],
    [
      'x of rank 3',
      () => toeplitzProduct(randomTensor(backend, 2, 1, 3), randomTensor(backend, 1, 1, 2, 1)),
      'RANK_MISMATCH',
    ],
    ['integers', () => toeplitzProduct(tensor(backend, Int32Array.of(1, 2, 3), [1, 3]), x), 'DTYPE_MISMATCH'],
    [
      'no tokens',
      () => toeplitzProduct(randomTensor(backend, 2, 1, 1), tensor(backend, [], [1, 1, 0, 1])),
      'EMPTY_SEQUENCE',
    ],
    [
      'a budget of one byte',
      () => explainToeplitzProduct(backend, { factors: [1, 3], x: [1, 1, 2, 1] }, { budgetBytes: 1 }),
      'DOES_NOT_FIT',
    ],
  ] as const)('%s', (_name, call, code) => {
    expect(call).toThrow(expect.objectContaining({ code }));
  });
});
