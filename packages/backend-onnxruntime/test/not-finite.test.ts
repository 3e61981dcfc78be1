import {
  type Activation,
  type AttentionOptions,
  exactAttention,
  type Shape,
  type Tensor,
  tensor,
  topKAttention,
  topKFeedForward,
} from '@topk-attention/core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createOnnxRuntimeBackend, type OnnxRuntimeBackend } from '../src/index.js';

let backend: OnnxRuntimeBackend;
beforeAll(async () => {
  backend = await createOnnxRuntimeBackend({ threads: 1 });
});
afterAll(() => backend.dispose());

const { NaN: nan, POSITIVE_INFINITY: inf } = Number;
const t = (data: readonly number[], shape: Shape): Tensor => tensor(backend, data, shape);
/** One head of one batch entry, `width` wide. */
const rows = (data: readonly number[], width = 1): Tensor => t(data, [1, 1, data.length / width, width]);
const mask = (data: readonly number[], shape: Shape): Tensor => tensor(backend, Uint8Array.from(data), shape);
const read = async (x: Tensor): Promise<number[]> => [...(await x.data())];

describe('scores that overflow are loud', () => {
  const q = () => rows([10, 10]);
  const scales: readonly (readonly [string, AttentionOptions])[] = [
    ['no mask', {}],
    ['causal', { causal: true }],
    ['mask', {}],
    ['key lengths', {}],
  ];
  for (const [name, options] of scales) {
    test(`by the scale, exact, ${name}`, async () => {
      const more = {
        ...options,
        ...(name === 'mask' && { mask: mask([1, 1], [1, 1, 1, 2]) }),
        ...(name === 'key lengths' && { keyLengths: tensor(backend, Int32Array.of(1)) }),
      };
      expect(await read(exactAttention(q(), q(), rows([1, 2]), { ...more, scale: 1e38 }))).toEqual([
        nan,
        nan,
      ]);
      expect(await read(topKAttention(q(), q(), rows([1, 2]), { ...more, scale: 1e38, k: 1 }))).toEqual([
        nan,
        nan,
      ]);
    });
  }

  for (const exponent of [10, 14, 16, 18, 18.9, 19, 20, 30]) {
    test(`by magnitude: queries and keys of 1e${exponent}`, async () => {
      const size = 10 ** exponent;
      const x = rows([size, size, size, size, size, size, size, size], 4);
      // 4 * size ** 2 against the largest f32.
      const overflows = 4 * size ** 2 > 3.4028234663852886e38;
      for (const options of [{ causal: true }, { mask: mask([1, 0, 1, 1], [1, 1, 2, 2]) }]) {
        const output = exactAttention(x, x, rows([2, 4]), { ...options, scale: 1 });
        expect(await read(output)).toEqual(overflows ? [nan, nan] : [2, 3]);
      }
    });
  }

  test('by the product, whatever the tensors were used for before', async () => {
    const x = rows([1e20, 1e20, 1e20, 1e20], 2);
    const one = rows([1, 1, 1, 1], 2);
    const large = Math.fround(1e20);
    expect(await read(exactAttention(one, one, x, { causal: true }))).toEqual([large, large, large, large]);
    expect(await read(exactAttention(x, x, one, { causal: true }))).toEqual([nan, nan, nan, nan]);
  });

  test('by a bias', async () => {
    const bias = t([3e38], [1, 1, 1, 1]);
    const options = { bias, causal: true, scale: 1e38 };
    expect(await read(exactAttention(rows([1, 1]), rows([1, 1]), rows([1, 2]), options))).toEqual([nan, nan]);
  });

  test('a row without any valid key is zeros all the same', async () => {
    const z = rows([0, 0]);
    const nothing = mask([0, 0, 1, 1], [1, 1, 2, 2]);
    expect(await read(exactAttention(z, z, rows([2, 4]), { mask: nothing }))).toEqual([0, 3]);
    expect(await read(exactAttention(rows([0, 0, 0]), z, rows([2, 4]), { causal: true }))).toEqual([0, 2, 3]);
  });
});

describe('exact attention and values that are not finite', () => {
  test('a key whose score is -inf by itself is not valid', async () => {
    expect(await read(exactAttention(rows([1]), rows([0, -inf]), rows([1, nan])))).toEqual([1]);
  });

  test('a key that the relative table hides brings nothing in', async () => {
    const z = rows([0, 0]);
    const table = t([0, 0, -inf, -inf], [4, 1]);
    const relativeBias = { table, bidirectional: true, maxDistance: 8 };
    expect(await read(exactAttention(z, z, rows([1, nan]), { relativeBias }))).toEqual([1, nan]);
  });

  const masks: readonly (readonly [string, () => AttentionOptions])[] = [
    ['no mask', () => ({})],
    ['causal', () => ({ causal: true })],
    ['a mask', () => ({ mask: mask([1, 1], [1, 1, 1, 2]) })],
    ['key lengths', () => ({ keyLengths: tensor(backend, Int32Array.of(2)) })],
    ['a bias', () => ({ bias: t([0, 0], [1, 1, 1, 2]) })],
  ];
  for (const [name, options] of masks) {
    const attend = (v: readonly number[]): Promise<number[]> =>
      read(exactAttention(rows([0]), rows([0, 0]), rows(v, v.length / 2), options()));
    test(`infinities and NaN stay in their columns: ${name}`, async () => {
      expect(await attend([inf, 1, 2, 3])).toEqual([inf, 2]);
      expect(await attend([-inf, 1, 2, 3])).toEqual([-inf, 2]);
      expect(await attend([inf, nan, -inf, 3])).toEqual([nan, nan]);
      expect(await attend([1, 2, nan, 4])).toEqual([nan, 3]);
      expect(await attend([inf, 0, inf, 0])).toEqual([inf, 0]);
    });

    test(`a value of NaN is seen also where the weight is too small for a number: ${name}`, async () => {
      const output = exactAttention(rows([1]), rows([0, -500]), rows([1, nan]), { scale: 1, ...options() });
      expect(await read(output)).toEqual([nan]);
    });
  }

  test('what one query sees, another that does not is free of', async () => {
    const z = rows([0, 0, 0]);
    const v = rows([1, 2, inf, 5, nan, -inf], 2);
    expect(await read(exactAttention(z, z, v, { causal: true }))).toEqual([1, 2, inf, 3.5, nan, -inf]);
  });

  test('grouped heads: each sees the values of its own', async () => {
    const q = t([0, 0, 0, 0], [1, 4, 1, 1]);
    const k = t([0, 0], [1, 2, 1, 1]);
    expect(await read(exactAttention(q, k, t([inf, 2], [1, 2, 1, 1]), { causal: true }))).toEqual([
      inf,
      inf,
      2,
      2,
    ]);
  });
});

describe('feed-forward and output weights that are not finite', () => {
  /** Three units of pre-activations 3, -2, 1 (relu: 3, 0, 1), of which two are kept. */
  const layer = (
    wOut: readonly number[],
    options: { select?: 'contribution'; activation?: Activation; k?: number },
  ) =>
    read(
      topKFeedForward(
        t([1], [1, 1]),
        { wIn: t([3, -2, 1], [1, 3]), wOut: t(wOut, [3, wOut.length / 3]) },
        { k: 2, activation: 'relu', ...options },
      ),
    );

  test('a kept infinity stays in its column, with its sign', async () => {
    expect(await layer([inf, 5, 0, 0, 2, 1], {})).toEqual([inf, 16]);
    expect(await layer([-inf, 5, 0, 0, 2, 1], {})).toEqual([-inf, 16]);
    expect(await layer([-inf, nan, 0, 0, inf, 1], {})).toEqual([nan, nan]);
  });

  test('a negative activation turns the sign', async () => {
    const silu = (x: number): number => x / (1 + Math.exp(-x));
    const [first, second] = await layer([1, 1, inf, 1, 1, 1], { activation: 'silu', k: 3 });
    expect(first).toBe(-inf);
    expect(second).toBeCloseTo(silu(3) + silu(-2) + silu(1), 5);
  });

  test('a unit that is not kept brings nothing in', async () => {
    expect(await layer([1, 5, nan, inf, 2, 1], {})).toEqual([5, 16]);
  });

  for (const select of ['preactivation', 'contribution'] as const) {
    for (const activation of ['relu', 'gelu', 'gelu_tanh', 'silu'] as const) {
      for (const k of [1, 3]) {
        test(`a NaN pre-activation makes its token NaN: ${activation}, ${select}, k ${k}`, async () => {
          const wIn = t([1, -2, 1, 1, 1, nan], [2, 3]);
          const output = topKFeedForward(
            t([1, 0, 1, 1], [2, 2]),
            { wIn, wOut: t([1, 2, 3], [3, 1]) },
            { k, activation, select },
          );
          expect((await read(output)).map(Number.isNaN)).toEqual([true, true]);
          const alone = topKFeedForward(
            t([1, 0], [1, 2]),
            { wIn: t([1, nan, 1, 0, 0, 0], [2, 3]), wOut: t([1, 2, 3], [3, 1]) },
            { k, activation, select },
          );
          expect(await read(alone)).toEqual([nan]);
        });
      }
    }
  }

  test('0 times infinity of a kept unit is NaN', async () => {
    expect(await layer([1, 5, inf, 0, 2, 1], { k: 3 })).toEqual([nan, 16]);
  });
});
