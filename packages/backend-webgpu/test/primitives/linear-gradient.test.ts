import {
  type Activation,
  linear,
  pullback,
  recordedStep,
  scope,
  type Tensor,
  tensor,
} from '@topk-attention/core';
import type { LinearGradientRequest } from '@topk-attention/core/backend';
import { optional, thoroughAvailability } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { afterAll, expect, test } from 'vitest';
import type { WebGpuBackend } from '../../src/index.js';
import { limitsOf } from '../../src/limits.js';
import { linearGradients } from '../../src/primitives/linear-gradient.js';
import { LARGE_TILE, MEDIUM_TILE, SMALL_TILE, TALL_TILE } from '../../src/primitives/matmul-choose.js';
import { invocationsOf, type MatmulTile } from '../../src/primitives/matmul-tile.js';
import { Storage, WebGpuTensor } from '../../src/tensor.js';
import { generator, integers } from '../support/primitives-harness.js';
import { kernelsOf, PLAIN } from '../support/recording.js';
import { createTestBackend } from '../support/software-gpu.js';

const INF = Number.POSITIVE_INFINITY;
const NAN = Number.NaN;
const software = softwareGpuAvailability();
const thorough = software.available ? thoroughAvailability() : software;

let opened: Promise<WebGpuBackend> | undefined;
afterAll(async () => (await opened)?.dispose());

/** Software adapters compute without tiles: this backend uses the given one for the gradients. */
async function backendWith(tile: MatmulTile): Promise<WebGpuBackend> {
  opened ??= createTestBackend();
  const backend = await opened;
  const allocate: WebGpuBackend['allocate'] = (shape, dtype) => backend.allocate(shape, dtype);
  Object.assign(backend.fused, {
    linearGradient: linearGradients(backend.stream, backend.facts, allocate, tile),
  });
  return backend;
}

/** Shaders of large tiles take seconds to compile on a CPU, so a tiny one stands for all that tiles have in common. */
const TINY_TILE: MatmulTile = { rows: 32, columns: 32, depth: 8, microRows: 4, microColumns: 4, speed: 1 };

interface Problem {
  readonly sizes: readonly [rows: number, inputDim: number, outputDim: number];
  readonly x: readonly number[];
  readonly dOutput: readonly number[];
  readonly transposeWeight: boolean;
  readonly activation?: Activation;
}

interface Gradients {
  readonly weight: number[];
  readonly bias: number[];
}

/** What the backend gives, with the launches of the backward pass. */
async function gradientsOf(
  backend: WebGpuBackend,
  { sizes, x, dOutput, transposeWeight, activation }: Problem,
): Promise<Gradients & { readonly launches: number }> {
  const [rows, inputDim, outputDim] = sizes;
  const made = (numbers: readonly number[], shape: readonly number[]): Tensor =>
    tensor(backend, Float32Array.from(numbers), shape);
  const weight = new Array<number>(inputDim * outputDim).fill(0.5);
  const given = {
    x: made(x, [rows, inputDim]),
    weight: made(weight, transposeWeight ? [outputDim, inputDim] : [inputDim, outputDim]),
    bias: made(new Array<number>(outputDim).fill(1), [outputDim]),
  };
  const upstream = made(dOutput, [rows, outputDim]);
  const pulled = pullback(
    (own: typeof given) =>
      linear(own.x, own.weight, own.bias, { transposeWeight, ...(activation && { activation }) }),
    given,
  );
  await backend.stream.finish();
  const { launches } = backend.stream.counts;
  const gradients = pulled.backward(upstream);
  await backend.stream.finish();
  const taken = backend.stream.counts.launches - launches;
  const read = async (one: Tensor): Promise<number[]> => Array.from(await one.data());
  const result = { weight: await read(gradients.weight), bias: await read(gradients.bias), launches: taken };
  for (const one of [...Object.values(given), ...Object.values(gradients), upstream, pulled.output, pulled]) {
    one.dispose();
  }
  return result;
}

/** Term by term, in f64; `of` may be the absolute values, for the size of the sums. */
function solve({ sizes, x, dOutput, transposeWeight }: Problem, of = (term: number) => term): Gradients {
  const [rows, inputDim, outputDim] = sizes;
  const weight = new Array<number>(inputDim * outputDim).fill(0);
  const bias = new Array<number>(outputDim).fill(0);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < outputDim; column++) {
      const g = dOutput[row * outputDim + column] as number;
      (bias[column] as number) += of(g);
      for (let i = 0; i < inputDim; i++) {
        const place = transposeWeight ? column * inputDim + i : i * outputDim + column;
        (weight[place] as number) += of((x[row * inputDim + i] as number) * g);
      }
    }
  }
  return { weight, bias };
}

const wholeNumbers = (sizes: Problem['sizes'], transposeWeight: boolean): Problem => ({
  ...{ sizes, transposeWeight },
  x: integers(sizes[0] * sizes[1], -4, 4, 1),
  dOutput: integers(sizes[0] * sizes[2], -4, 4, 2),
});

for (const [sizes, launches] of [
  // One launch for the gradient of x and one for the product.
  [[1, 3, 5], 2],
  [[9, 2, 2], 2],
  [[40, 33, 65], 2],
  [[64, 32, 96], 2],
  // Another for its parts: of single numbers, of vectors, in whole tiles, of many.
  [[2600, 31, 65], 3],
  [[2600, 68, 36], 3],
  [[2560, 64, 32], 3],
  [[32_769, 4, 65], 3],
] as const) {
  optional(
    `gradients of weight and bias, ${sizes[0]} rows of ${sizes[1]} to ${sizes[2]}`,
    software,
    async () => {
      const backend = await backendWith(TINY_TILE);
      for (const transposeWeight of [false, true]) {
        const problem = wholeNumbers(sizes, transposeWeight);
        // Every partial sum is exact.
        expect(await gradientsOf(backend, problem)).toEqual({ ...solve(problem), launches });
      }
    },
  );
}

for (const [name, tile, [rows, down, across]] of [
  ['large', LARGE_TILE, [600, 132, 140]],
  ['medium', MEDIUM_TILE, [600, 68, 132]],
  ['small', SMALL_TILE, [600, 68, 72]],
  ['tall', TALL_TILE, [600, 132, 30]],
] as const) {
  optional(`gradients of weight and bias, the ${name} tile`, thorough, async () => {
    const backend = await backendWith(tile);
    for (const problem of [
      wholeNumbers([rows, down, across], false),
      wholeNumbers([rows, across, down], true),
    ]) {
      expect(await gradientsOf(backend, problem)).toEqual({ ...solve(problem), launches: 3 });
    }
  });
}

optional('numbers that are not whole, beside f64, and equal bits', software, async () => {
  const backend = await backendWith(TINY_TILE);
  const next = generator(5);
  const rounded = (count: number): number[] =>
    Array.from({ length: count }, () => Math.fround(2 * next() - 1));
  for (const transposeWeight of [false, true]) {
    const sizes = [5000, 7, 33] as const;
    const problem = { sizes, transposeWeight, x: rounded(35_000), dOutput: rounded(165_000) };
    const [expected, magnitude] = [solve(problem), solve(problem, Math.abs)];
    const got = await gradientsOf(backend, problem);
    for (const of of ['weight', 'bias'] as const) {
      const worst = Math.max(
        ...got[of].map(
          (one, i) => Math.abs(one - (expected[of][i] as number)) / (magnitude[of][i] as number),
        ),
      );
      expect(worst, of).toBeLessThan(1e-6);
    }
    expect(await gradientsOf(backend, problem)).toEqual(got);
  }
});

optional('NaN and infinities stay in their column', software, async () => {
  const backend = await backendWith(TINY_TILE);
  for (const transposeWeight of [false, true]) {
    // In one part and in several, and in the last row.
    for (const rows of [37, 4001]) {
      const clean = wholeNumbers([rows, 6, 35], transposeWeight);
      const spoilt = [...clean.dOutput];
      const put = (row: number, column: number, value: number): void => {
        spoilt[row * 35 + column] = value;
      };
      put(3, 0, NAN);
      put(rows - 1, 2, INF);
      put(5, 32, -INF);
      put(rows - 1, 34, INF);
      put(1, 34, -INF);
      const { bias } = await gradientsOf(backend, { ...clean, dOutput: spoilt });
      const expected = solve(clean).bias;
      const held: Readonly<Record<number, number>> = { 0: NAN, 2: INF, 32: -INF, 34: NAN };
      expect(bias).toEqual(expected.map((one, column) => held[column] ?? one));
    }
  }
});

optional('recorded steps have the bits of called ones', software, async () => {
  const backend = await backendWith(TINY_TILE);
  const next = generator(7);
  const made = (shape: readonly number[]): Tensor =>
    tensor(
      backend,
      Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => 2 * next() - 1),
      shape,
    );
  const inputs = { x: made([601, 9]), dOutput: made([601, 34]) };
  const start = { weight: made([9, 34]), bias: made([34]) };
  const bitsOf = async (mostRecordings: number): Promise<number[][]> => {
    const step = recordedStep(
      (state: typeof start, { x, dOutput }: typeof inputs) =>
        scope(() => {
          const pulled = pullback(
            (own: typeof start) => linear(x, own.weight, own.bias, { activation: 'silu' }),
            state,
          );
          const gradients = pulled.backward(dOutput);
          pulled.dispose();
          return { state: gradients, outputs: {} };
        }),
      { mostRecordings },
    );
    const bits: number[][] = [];
    let state = { weight: start.weight.alias(), bias: start.bias.alias() };
    for (let at = 0; at < 4; at++) {
      ({ state } = step(state, inputs));
      bits.push([...(await state.weight.data()), ...(await state.bias.data())]);
    }
    expect(step.counts.replayed > 0).toBe(mostRecordings > 0);
    expect(bits.flat().every(Number.isFinite)).toBe(true);
    for (const one of [...Object.values(state), step]) one.dispose();
    return bits;
  };
  expect(await bitsOf(1)).toEqual(await bitsOf(0));
  for (const one of [...Object.values(inputs), ...Object.values(start)]) one.dispose();
});

const request: LinearGradientRequest = {
  ...{ rows: 32_768, inputDim: 64, outputDim: 128, dtype: 'f32', transposeWeight: false },
};

/** Kernels of a call with its scratch, or the reasons against it. */
function asked(changes: Partial<LinearGradientRequest>, facts = PLAIN): readonly string[] {
  const own = { ...request, ...changes };
  let refusals: readonly string[] = [];
  const kernels = kernelsOf(facts, (stream, view) => {
    const tensorOf = (shape: readonly number[]): WebGpuTensor => {
      const { span, dtype } = view(shape);
      return new WebGpuTensor(new Storage(span, span.size), shape, dtype);
    };
    let taken = 0;
    const scratch: typeof stream.scratch = (size) => {
      taken += size;
      return view([size / 4]).span;
    };
    const counted = Object.assign(stream, { scratch });
    const prepared = linearGradients(counted, facts, tensorOf).prepare(own, limitsOf(facts));
    if ('refusals' in prepared) {
      refusals = prepared.refusals;
      return;
    }
    const inputs = { x: tensorOf([own.rows, own.inputDim]), dOutput: tensorOf([own.rows, own.outputDim]) };
    taken = 0;
    prepared.run(inputs, 1);
    expect(taken).toBe(prepared.scratchBytes(1));
  });
  return refusals.length > 0 ? refusals : [...kernels.keys()];
}

test('the bias takes no launch of its own', () => {
  expect(asked({})).toEqual([
    'matmul tiled 64x128x16/8x8 whole f32 aT va vb vo sums b',
    'matmul parts by 16 vec sums b',
  ]);
  expect(asked({ transposeWeight: true })).toEqual([
    expect.stringMatching(/^matmul tiled .* aT va vb vo sums a$/),
    'matmul parts by 16 vec sums a',
  ]);
  expect(asked({ rows: 32, outputDim: 30 })).toEqual([
    expect.stringMatching(/^matmul tiled .* aT va sums b$/),
  ]);
});

test('what runs composed', () => {
  expect(asked({ dtype: 'f16' })).toEqual(['f16: made for f32']);
  expect(asked({ inputDim: 0 })).toEqual(['no inputs: there is no product']);
  expect(asked({ outputDim: 1 })).toEqual(['one column: its product runs as one of a single row']);
  expect(asked({ inputDim: 1, transposeWeight: true })).toEqual([
    'one column: its product runs as one of a single row',
  ]);
  expect(asked({ inputDim: 16 })).toEqual([
    'few rows, sums side by side: only products in tiles sum an operand',
  ]);
  expect(asked({}, { ...PLAIN, isSoftware: true })).toEqual([
    'an invocation per element: only products in tiles sum an operand',
  ]);
  expect(asked({}, { ...PLAIN, bindingBytes: 1000 })).toEqual(['a tensor exceeds a binding of 1000 bytes']);
});

test.each([LARGE_TILE, MEDIUM_TILE, SMALL_TILE, TALL_TILE])('tiles that sums divide evenly: %o', (tile) => {
  for (const groups of [tile.rows / 4, tile.columns / 4]) {
    expect((groups * tile.depth) % invocationsOf(tile)).toBe(0);
    expect(invocationsOf(tile) % groups).toBe(0);
  }
});
