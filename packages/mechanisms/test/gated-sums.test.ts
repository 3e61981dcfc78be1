import { add, type Backend, mul, narrow, sum, type Tensor, tensor, valueAndGrad } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import type { ParameterTree } from '@topk-attention/nn';
import { describe, expect, test } from 'vitest';
import { byFours } from '../src/by-fours.js';
import { type GatedInputs, type GatedOptions, gatedAttention } from '../src/gated-sums.js';
import { backend } from './support/goldens.js';
import { expectClose, expectSlope } from './support/laws.js';
import { randomNumbers, randomTensor } from './support/random.js';

const [batch, heads, keyHeads, features, width] = [2, 4, 2, 3, 2];
const floor = 1e-3;
/** Of values, weights, and zeros. */
const columns = byFours(width + 1);

/** Features and weights above 0, gates between about 0.02 and 1. */
function inputsOf(
  queries: number,
  keys: number,
  { on = backend, strength = 4 }: { readonly on?: Backend; readonly strength?: number } = {},
): GatedInputs & ParameterTree {
  const uniform = (seed: number, ...shape: readonly number[]): Tensor => {
    const next = randomNumbers(seed);
    const count = shape.reduce((all, one) => all * one, 1);
    return tensor(
      on,
      Float64Array.from({ length: count }, () => (next() + 1) / 2 + 0.01),
      shape,
    );
  };
  return {
    query: uniform(1, batch, heads, queries, features),
    key: uniform(2, batch, keyHeads, keys, features),
    value: mul(randomTensor(on, 3, batch, keyHeads, keys, width), 2),
    weights: uniform(4, batch, keyHeads, keys, 1),
    logGates: mul(uniform(5, batch, keyHeads, keys, 1), -strength),
  };
}

/** Outputs and last sums, token by token: S <- g S + w phi(k) (v, 1)^T. */
async function byTokens(
  { query, key, value, weights, logGates }: GatedInputs,
  start?: Float64Array,
): Promise<{ readonly output: number[]; readonly state: Float64Array }> {
  const numbers = async (x: Tensor): Promise<Float64Array> => Float64Array.from(await x.data());
  const [q, k, v, w, g] = await Promise.all([query, key, value, weights, logGates].map(numbers));
  if (!q || !k || !v || !w || !g) throw new Error('no numbers');
  const [queries, keys] = [query.shape[2] as number, key.shape[2] as number];
  const state = start?.slice() ?? new Float64Array(batch * keyHeads * features * columns);
  const output = new Array<number>(batch * heads * queries * width);
  for (let group = 0; group < batch * keyHeads; group++) {
    const sums = state.subarray(group * features * columns, (group + 1) * features * columns);
    for (let token = 0; token < keys; token++) {
      const at = group * keys + token;
      for (let f = 0; f < features; f++) {
        for (let c = 0; c < columns; c++) {
          const content = c < width ? (v[at * width + c] as number) : c === width ? 1 : 0;
          const added = (w[at] as number) * (k[at * features + f] as number) * content;
          sums[f * columns + c] = Math.exp(g[at] as number) * (sums[f * columns + c] as number) + added;
        }
      }
      const row = token - (keys - queries);
      if (row < 0) continue;
      for (let own = 0; own < heads / keyHeads; own++) {
        const place = (group * (heads / keyHeads) + own) * queries + row;
        const products = Array.from({ length: columns }, (_, c) => {
          let all = 0;
          for (let f = 0; f < features; f++)
            all += (q[place * features + f] as number) * (sums[f * columns + c] as number);
          return all;
        });
        for (let c = 0; c < width; c++)
          output[place * width + c] = (products[c] as number) / Math.max(products[width] as number, floor);
      }
    }
  }
  return { output, state };
}

const asTensor = (numbers: ArrayLike<number>, shape: readonly number[]): Tensor =>
  tensor(backend, Float64Array.from(numbers), shape);

/** Bytes that make spans of so many chunks, of the sums or the pairs of a chunk. */
const spanOf = (chunks: number, size: number): number =>
  chunks * 4 * batch * Math.max(keyHeads * features * columns, heads * size * size);

describe('gated sums are those of token after token', () => {
  const lengths = [1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 13, 24, 31];

  test.each(lengths)('%i tokens, around borders of chunks and spans', async (length) => {
    const inputs = inputsOf(length, length);
    const { output, state } = await byTokens(inputs);
    const options: GatedOptions[] = [
      { chunk: 4, floor },
      { chunk: 64, floor },
      ...[1, 2, 3].map((chunks) => ({ chunk: 4, floor, spanBytes: spanOf(chunks, 4) })),
    ];
    for (const one of options) {
      const made = gatedAttention(inputs, one);
      await expectClose(made.output, asTensor(output, made.output.shape), 12);
      await expectClose(made.state, asTensor(state, made.state.shape), 12);
    }
  });

  test('in chunks whose sums of gates are made of blocks', async () => {
    const inputs = inputsOf(580, 580, { strength: 0.1 });
    const { output, state } = await byTokens(inputs);
    const made = gatedAttention(inputs, { chunk: 300, floor });
    await expectClose(made.output, asTensor(output, made.output.shape), 11);
    await expectClose(made.state, asTensor(state, made.state.shape), 11);
  });

  test.each([
    [1, 9],
    [3, 11],
    [8, 12],
    [4, 5],
  ])('the last %i queries of %i keys', async (queries, keys) => {
    const inputs = inputsOf(queries, keys);
    const { output, state } = await byTokens(inputs);
    for (const spanBytes of [spanOf(1, 4), 2 ** 28]) {
      const made = gatedAttention(inputs, { chunk: 4, floor, spanBytes });
      await expectClose(made.output, asTensor(output, made.output.shape), 12);
      await expectClose(made.state, asTensor(state, made.state.shape), 12);
    }
  });

  test.each([
    [1, 1],
    [5, 9],
    [13, 13],
  ])('after a state: the last %i queries of %i keys', async (queries, keys) => {
    const before = await byTokens(inputsOf(6, 6, { strength: 1 }));
    const inputs = inputsOf(queries, keys);
    const { output, state } = await byTokens(inputs, before.state);
    const given = asTensor(before.state, [batch * keyHeads, features, columns]);
    for (const spanBytes of [spanOf(1, 4), spanOf(2, 4), 2 ** 28]) {
      const made = gatedAttention(inputs, { chunk: 4, floor, spanBytes }, given);
      await expectClose(made.output, asTensor(output, made.output.shape), 12);
      await expectClose(made.state, asTensor(state, made.state.shape), 12);
    }
  });
});

describe('their gradients', () => {
  test.each([
    ['one span', 11, 2 ** 28],
    ['two spans', 11, spanOf(2, 4)],
    ['chunks that divide the length', 12, 2 ** 28],
  ] as const)('are those of finite differences: %s', async (_, length, spanBytes) => {
    const inputs = inputsOf(length - 1, length);
    const cotangent = randomTensor(backend, 6, batch, heads, length - 1, width);
    const loss = (of: ParameterTree): Tensor =>
      sum(
        mul(
          gatedAttention(of as ParameterTree & GatedInputs, { chunk: 4, floor, spanBytes }).output,
          cotangent,
        ),
      );
    const { gradients } = valueAndGrad(loss)(inputs);
    for (const name of Object.keys(inputs)) await expectSlope(loss, inputs, gradients, name, 5);
  });

  test('of gradients are those of finite differences', async () => {
    const inputs = inputsOf(7, 8);
    const cotangent = randomTensor(backend, 6, batch, heads, 7, width);
    const loss = (of: ParameterTree): Tensor =>
      sum(mul(gatedAttention(of as ParameterTree & GatedInputs, { chunk: 4, floor }).output, cotangent));
    const slope = (of: ParameterTree): Tensor => {
      const { gradients } = valueAndGrad(loss)(of);
      const squares = Object.values(gradients).map((one) => sum(mul(one as Tensor, one as Tensor)));
      return squares.reduce((all, one) => add(all, one));
    };
    const { gradients } = valueAndGrad(slope)(inputs);
    for (const name of Object.keys(inputs)) await expectSlope(slope, inputs, gradients, name, 4);
  });

  test('of a state', async () => {
    const inputs = inputsOf(9, 9);
    const cotangent = randomTensor(backend, 6, batch, heads, 9, width);
    const parameters = { state: randomTensor(backend, 7, batch * keyHeads, features, columns) };
    const loss = ({ state }: ParameterTree): Tensor => {
      const made = gatedAttention(inputs, { chunk: 4, floor: 2 }, state as Tensor);
      return add(sum(mul(made.output, cotangent)), sum(mul(made.state, made.state)));
    };
    const { gradients } = valueAndGrad(loss)(parameters);
    await expectSlope(loss, parameters, gradients, 'state', 6);
  });
});

test('they keep their digits over a long text in f32', async () => {
  const on = createReferenceBackend();
  const length = 6000;
  const inputs = inputsOf(length, length, { on, strength: 8 });
  const { output } = await byTokens(inputs);
  const made = await gatedAttention(inputs, { chunk: 64, floor }).output.data();
  // Running sums of a chunk reach -256, in steps of 3e-5; those of all tokens would reach -24,000, in steps of 2e-3.
  for (const [at, number] of output.entries()) {
    expect(Math.abs((made[at] as number) - number)).toBeLessThan(3e-5 * Math.max(1, Math.abs(number)));
  }
});

test('gates that forget everything leave the token itself', async () => {
  const inputs = {
    ...inputsOf(9, 9),
    logGates: tensor(backend, new Float64Array(36).fill(-1e30), [2, 2, 9, 1]),
  };
  const { output } = gatedAttention(
    { ...inputs, query: narrow(inputs.query, 1, 0, 2) },
    { chunk: 2, floor: 1e-9 },
  );
  await expectClose(output, inputs.value, 12);
});

test('the number of products does not depend on the length', () => {
  const reference: Backend = createReferenceBackend();
  const productsOf = (length: number): number => {
    let products = 0;
    const on: Backend = {
      ...reference,
      matmul: (...operands) => {
        products++;
        return reference.matmul(...operands);
      },
    };
    gatedAttention(inputsOf(length, length, { on }), { chunk: 4, floor });
    return products;
  };
  expect(productsOf(400)).toBe(productsOf(8));
  expect(productsOf(8)).toBeLessThan(10);
});
