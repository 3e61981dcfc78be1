import { mul, sum, type Tensor, tensor, valueAndGrad } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { describe, expect, test } from 'vitest';
import { fft, inverseFft } from '../src/fft.js';
import { toeplitzProduct } from '../src/index.js';
import { backend, expectNumbers } from './support/goldens.js';
import { expectSlope } from './support/laws.js';
import { randomTensor } from './support/random.js';

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

async function directSum(factors: Tensor, x: Tensor): Promise<number[]> {
  const [c, values] = await Promise.all([factors.data(), x.data()]);
  const [batch, heads, length, columns] = x.shape as [number, number, number, number];
  const sums: number[] = [];
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      for (let i = 0; i < length; i++) {
        for (let d = 0; d < columns; d++) {
          let total = 0;
          for (let j = 0; j < length; j++) {
            const factor = c[h * (2 * length - 1) + j - i + length - 1] as number;
            total += factor * (values[((b * heads + h) * length + j) * columns + d] as number);
          }
          sums.push(total);
        }
      }
    }
  }
  return sums;
}

describe.each([1, 2, 5, 8, 33])('%i tokens', (length) => {
  test.each([1, 2, 3])('%i columns are the direct sums', async (columns) => {
    const factors = randomTensor(backend, 3, 2, 2 * length - 1);
    const x = randomTensor(backend, 4, 3, 2, length, columns);
    await expectNumbers(toeplitzProduct(factors, x), await directSum(factors, x), 11);
  });

  test('its gradients are those of finite differences', async () => {
    const parameters = {
      factors: randomTensor(backend, 5, 2, 2 * length - 1),
      x: randomTensor(backend, 6, 2, 2, length, 3),
    };
    const weights = randomTensor(backend, 7, 2, 2, length, 3);
    const loss = ({ factors, x }: { readonly [name: string]: Tensor }): Tensor =>
      sum(mul(toeplitzProduct(factors as Tensor, x as Tensor), weights));
    const { gradients } = valueAndGrad(loss)(parameters);
    for (const name of ['factors', 'x']) await expectSlope(loss, parameters, gradients, name, 7);
  });
});

test('in f32 a thousand tokens have an error of a few units in the last place of the largest', async () => {
  const f32 = createReferenceBackend();
  const factors = randomTensor(f32, 3, 1, 1999);
  const x = randomTensor(f32, 4, 1, 1, 1000, 1);
  const made = await toeplitzProduct(factors, x).data();
  const expected = await directSum(factors, x);
  for (const [at, value] of expected.entries())
    expect(Math.abs((made[at] as number) - value)).toBeLessThan(2e-5);
});

test('factors of another length are refused', () => {
  expect(() =>
    toeplitzProduct(tensor(backend, [1, 2], [1, 2]), randomTensor(backend, 1, 1, 1, 2, 1)),
  ).toThrow(expect.objectContaining({ code: 'SHAPE_MISMATCH' }));
});
