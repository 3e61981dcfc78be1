import { exp, grad, mul, sum, type Tensor, tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { expect, test } from 'vitest';
import { orthogonalFeatures, reluFeatures, softmaxFeatures } from '../../src/mechanisms/random-features.js';

const backend = createReferenceBackend({ floatStorage: 'f64' });
const width = 4;

test('rows of a block are at right angles, those of different blocks are not', () => {
  const rows = orthogonalFeatures([10, width], 3);
  const product = (a: number, b: number): number => {
    let total = 0;
    for (let at = 0; at < width; at++) {
      total += (rows[a * width + at] as number) * (rows[b * width + at] as number);
    }
    return total / Math.sqrt(norm(a) * norm(b));
  };
  const norm = (row: number): number =>
    rows.subarray(row * width, (row + 1) * width).reduce((total, one) => total + one * one, 0);
  for (const start of [0, 4, 8]) {
    for (let a = start; a < Math.min(start + 4, 10); a++) {
      for (let b = start; b < a; b++) expect(product(a, b)).toBeCloseTo(0, 12);
    }
  }
  expect(Math.abs(product(0, 4))).toBeGreaterThan(1e-6);
});

test('each row is N(0, I): mean 0, variance 1 in every direction', () => {
  const draws = 4000;
  const sums = new Float64Array(width);
  const squares = new Float64Array(width);
  for (let seed = 0; seed < draws; seed++) {
    const [row, element] = [seed % width, seed];
    const rows = orthogonalFeatures([width, width], element);
    for (let at = 0; at < width; at++) {
      const value = rows[row * width + at] as number;
      sums[at] = (sums[at] as number) + value;
      squares[at] = (squares[at] as number) + value * value;
    }
  }
  for (let at = 0; at < width; at++) {
    // Four deviations of each mean.
    expect(Math.abs((sums[at] as number) / draws)).toBeLessThan(4 / Math.sqrt(draws));
    expect(Math.abs((squares[at] as number) / draws - 1)).toBeLessThan(4 * Math.sqrt(2 / draws));
  }
});

test('features are an unbiased estimate of exp(x . y)', async () => {
  const x = tensor(backend, Float64Array.of(0.3, -0.2, 0.4, 0.1), [1, width]);
  const y = tensor(backend, Float64Array.of(0.2, 0.2, 0.4, -0.3), [1, width]);
  const featuresOf = softmaxFeatures(0);
  const truth = Math.exp(0.06 - 0.04 + 0.16 - 0.03);
  const estimates: number[] = [];
  for (let seed = 0; seed < 1000; seed++) {
    const directions = tensor(backend, orthogonalFeatures([32, width], seed), [32, width]);
    const [a, b] = await Promise.all(
      [x, y].map((one) => {
        const { features, largest } = featuresOf(one, directions, { axes: [1] });
        return mul(features, exp(largest)).data();
      }),
    );
    let total = 0;
    for (let at = 0; at < 32; at++) total += (a?.[at] as number) * (b?.[at] as number);
    estimates.push(total / 32);
  }
  const mean = estimates.reduce((all, one) => all + one, 0) / estimates.length;
  const variance = estimates.reduce((all, one) => all + (one - mean) ** 2, 0) / (estimates.length - 1);
  const deviation = Math.sqrt(variance / estimates.length);
  expect(Math.abs(mean - truth)).toBeLessThan(4 * deviation);
  // Signs as LAPACK leaves them are off by some per cent.
  expect(deviation).toBeLessThan(0.01 * truth);
});

test.each([
  ['of each row', [2], undefined],
  ['of all rows', [1, 2], undefined],
  ['of each row, some hidden', [2], [1, 0, 1]],
  ['of all rows, some hidden', [1, 2], [0, 1, 1]],
  ['of all rows, all hidden', [1, 2], [0, 0, 0]],
] as const)('features are relative to the largest logit %s', async (_, axes, visible) => {
  const [length, count, epsilon] = [3, 6, 0.25];
  const rows = Float64Array.from({ length: length * width }, (_one, at) => 3 * Math.sin(1 + 2 * at));
  const directions = orthogonalFeatures([count, width], 5);
  const logits = Array.from({ length }, (_row, row) => {
    const own = rows.subarray(row * width, (row + 1) * width);
    const half = own.reduce((total, one) => total + one * one, 0) / 2;
    const isHidden = visible?.[row] === 0;
    return Array.from({ length: count }, (_feature, feature) => {
      const product = own.reduce(
        (total, one, at) => total + one * (directions[feature * width + at] as number),
        0,
      );
      return isHidden ? Number.NEGATIVE_INFINITY : product - half;
    });
  });
  const peaks = logits.map((own) => Math.max(...(axes.length === 1 ? own : logits.flat())));
  const expected = logits.flatMap((own, row) =>
    own.map((one) =>
      one === Number.NEGATIVE_INFINITY ? 0 : Math.exp(one - (peaks[row] as number)) + epsilon,
    ),
  );
  const { features, largest } = softmaxFeatures(epsilon)(
    tensor(backend, rows, [1, length, width]),
    tensor(backend, directions, [count, width]),
    { axes, visible: visible && tensor(backend, Uint8Array.from(visible), [1, length, 1]) },
  );
  const got = await features.data();
  for (const [at, one] of expected.entries()) expect(got[at]).toBeCloseTo(one, 12);
  const most = Array.from(await largest.data(), Number);
  const wanted = axes.length === 1 ? peaks : peaks.slice(0, 1);
  for (const [at, one] of wanted.entries()) {
    if (Number.isFinite(one)) expect(most[at]).toBeCloseTo(one, 12);
    else expect(most[at]).toBe(one);
  }
});

test.each([
  ['softmax', (x: Tensor, rows: Tensor) => softmaxFeatures(0.1)(x, rows, { axes: [2] }).features],
  ['relu', reluFeatures(0.1)],
] as const)('%s features: the gradient of either input alone is that of both', async (_, featuresOf) => {
  const numbers = (length: number, phase: number): Float64Array =>
    Float64Array.from({ length }, (_one, at) => Math.sin(1.3 * at + phase));
  const inputs = {
    x: tensor(backend, numbers(3 * width, 1), [1, 3, width]),
    rows: tensor(backend, numbers(6 * width, 2), [6, width]),
  };
  const weights = tensor(backend, numbers(18, 3), [1, 3, 6]);
  const lossOf = (of: typeof inputs): Tensor => sum(mul(featuresOf(of.x, of.rows), weights));
  const both = grad(lossOf)(inputs);
  for (const name of ['x', 'rows'] as const) {
    const alone = grad((one: Tensor) => lossOf({ ...inputs, [name]: one }))(inputs[name]);
    const values = Array.from(await alone.data());
    expect(values).toEqual(Array.from(await both[name].data()));
    expect(values.some((one) => one !== 0)).toBe(true);
  }
});

test('features of long vectors stay at most 1, where rounding of their logits is beyond what exp takes', async () => {
  const single = createReferenceBackend();
  const directions = tensor(single, Float32Array.from(orthogonalFeatures([16, 8], 5)), [16, 8]);
  for (const size of [1e5, 1e7, 1e9]) {
    const x = tensor(
      single,
      Float32Array.from({ length: 80 }, (_, at) => size * Math.sin(1 + at * at)),
      [10, 8],
    );
    const { features } = softmaxFeatures(1e-6)(x, directions, { axes: [0, 1] });
    const values = [...(await features.data())];
    expect(Math.max(...values)).toBeLessThanOrEqual(1 + 2e-6);
    expect(Math.min(...values)).toBeGreaterThan(0);
  }
});
