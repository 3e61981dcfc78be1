import {
  explainToeplitzProduct,
  fill,
  type Pullback,
  pullback,
  type Tensor,
  tensor,
  toeplitzProduct,
} from '@topk-attention/core';
import { type Backend, type Shape, sizeOf, type ToeplitzProductRequest } from '@topk-attention/core/backend';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { expect, test } from 'vitest';
import { bufferSize } from '../../src/runtime/pool.js';
import { storageBytes, type View } from '../../src/runtime/view.js';
import { fusedToeplitzBackward } from '../../src/toeplitz/fused-toeplitz-backward.js';
import { fusedToeplitzProduct } from '../../src/toeplitz/fused-toeplitz-product.js';
import { chunksOf, splitOf } from '../../src/toeplitz/sizes.js';
import { randomNumbers } from '../support/backward.js';
import { PLAIN } from '../support/recording.js';
import { openTestBackend } from '../support/software-gpu.js';

interface Sizes {
  readonly batch: number;
  readonly heads: number;
  readonly length: number;
  readonly columns: number;
}

/** Around what one workgroup transforms, 1,024 tokens forwards and 512 backwards, and in several chunks. */
const cases: readonly Sizes[] = [
  { batch: 1, heads: 1, length: 1, columns: 1 },
  { batch: 2, heads: 3, length: 4, columns: 600 },
  { batch: 1, heads: 2, length: 512, columns: 5 },
  { batch: 1, heads: 2, length: 513, columns: 4 },
  { batch: 2, heads: 1, length: 1024, columns: 3 },
  { batch: 1, heads: 1, length: 1025, columns: 1 },
  { batch: 1, heads: 3, length: 3000, columns: 7 },
  { batch: 2, heads: 3, length: 1100, columns: 50 },
];

interface Inputs {
  readonly factors: Tensor;
  readonly x: Tensor;
  readonly cotangent: Tensor;
}

function inputsOn(backend: Backend, { batch, heads, length, columns }: Sizes): Inputs {
  const shape = [batch, heads, length, columns];
  const random = (seed: number, dims: readonly number[]): Tensor =>
    tensor(
      backend,
      randomNumbers(
        dims.reduce((a, b) => a * b, 1),
        seed,
      ),
      dims,
    );
  return { factors: random(1, [heads, 2 * length - 1]), x: random(2, shape), cotangent: random(3, shape) };
}

type Numbers = Float64Array | Float32Array;

/** The sums of all pairs of tokens, in f64. */
function directSums(sizes: Sizes, c: Numbers, values: Numbers, g: Numbers) {
  const { batch, heads, length, columns } = sizes;
  const made = {
    output: new Float64Array(values.length),
    factors: new Float64Array(c.length),
    x: new Float64Array(values.length),
  };
  for (let group = 0; group < batch * heads; group++) {
    const middle = (group % heads) * (2 * length - 1) + length - 1;
    for (let i = 0; i < length; i++) {
      for (let j = 0; j < length; j++) {
        const factor = c[middle + j - i] as number;
        const [row, source] = [(group * length + i) * columns, (group * length + j) * columns];
        let dot = 0;
        for (let d = 0; d < columns; d++) {
          const [upstream, value] = [g[row + d] as number, values[source + d] as number];
          made.output[row + d] = (made.output[row + d] as number) + factor * value;
          made.x[source + d] = (made.x[source + d] as number) + factor * upstream;
          dot += upstream * value;
        }
        made.factors[middle + j - i] = (made.factors[middle + j - i] as number) + dot;
      }
    }
  }
  return made;
}

for (const sizes of cases) {
  const { batch, heads, length, columns } = sizes;
  const name = `B ${batch}, H ${heads}, n ${length}, C ${columns}`;
  optional(
    `the sums of all pairs, but for some units in the last place: ${name}`,
    softwareGpuAvailability(),
    async () => {
      const backend = await openTestBackend();
      const shapes = { factors: [heads, 2 * length - 1], x: [batch, heads, length, columns] };
      const { path, backward } = explainToeplitzProduct(backend, shapes, { training: true });
      expect([path, backward?.path]).toEqual(['fused', 'fused']);
      const { cotangent, ...inputs } = inputsOn(backend, sizes);
      const pulled = pullback((p: typeof inputs) => toeplitzProduct(p.factors, p.x), inputs);
      const made = { ...pulled.backward(cotangent), output: pulled.output };
      const read = async (one: Tensor): Promise<Numbers> => (await one.data()) as Float32Array;
      const [c, values, g] = [await read(inputs.factors), await read(inputs.x), await read(cotangent)];
      const wanted = directSums(sizes, c, values, g);
      for (const [what, numbers] of Object.entries(wanted)) {
        const mine = await read(made[what as keyof typeof made]);
        expect(mine.length, what).toBe(numbers.length);
        let [worst, largest] = [0, 0];
        for (const [at, x] of numbers.entries()) {
          worst = Math.max(worst, Math.abs(x - (mine[at] as number)));
          largest = Math.max(largest, Math.abs(x));
        }
        expect(worst / largest, what).toBeLessThan(1e-6);
      }
    },
  );
}

optional('twenty thousand tokens are the direct sums', softwareGpuAvailability(), async () => {
  const backend = await openTestBackend();
  const length = 20_000;
  const { factors, x } = inputsOn(backend, { batch: 1, heads: 1, length, columns: 2 });
  const made = await toeplitzProduct(factors, x).data();
  const [c, values] = [await factors.data(), await x.data()];
  // The largest sums are some 300.
  for (let i = 0; i < length; i += 997) {
    for (let column = 0; column < 2; column++) {
      let sum = 0;
      for (let j = 0; j < length; j++)
        sum += (c[j - i + length - 1] as number) * (values[2 * j + column] as number);
      expect(Math.abs((made[2 * i + column] as number) - sum)).toBeLessThan(3e-4);
    }
  }
});

optional('it takes few launches', softwareGpuAvailability(), async () => {
  const backend = await openTestBackend();
  const launchesOf = async (length: number): Promise<readonly number[]> => {
    const { cotangent, ...inputs } = inputsOn(backend, { batch: 1, heads: 2, length, columns: 4 });
    const counts: number[] = [];
    const counted = async (work: () => Tensor): Promise<void> => {
      await backend.stream.finish();
      const before = backend.stream.counts.launches;
      work();
      await backend.stream.finish();
      counts.push(backend.stream.counts.launches - before);
    };
    const pulled = pullback((p: typeof inputs) => toeplitzProduct(p.factors, p.x), inputs);
    await counted(() => toeplitzProduct(inputs.factors, inputs.x));
    await counted(() => pulled.backward(cotangent).x);
    return counts;
  };
  expect(await launchesOf(512)).toEqual([2, 4]);
  expect(await launchesOf(16_384)).toEqual([4, 8]);
});

optional('planned bytes are 1.0 to 1.5 times those taken', softwareGpuAvailability(), async () => {
  const backend = await openTestBackend();
  const { pool } = backend.stream;
  for (const [heads, length, columns] of [
    [2, 512, 64],
    [2, 1024, 64],
    [1, 4096, 128],
  ] as const) {
    const shapes = { factors: [heads, 2 * length - 1], x: [1, heads, length, columns] };
    const inputs = { factors: fill(backend, 0.5, shapes.factors), x: fill(backend, 0.5, shapes.x) };
    const cotangent = fill(backend, 0.5, shapes.x);
    const { plan, backward } = explainToeplitzProduct(backend, shapes, { training: true });
    const taken = (record: () => void): number => {
      pool.resetPeak();
      const before = pool.peakUsedBytes;
      record();
      return pool.peakUsedBytes - before;
    };
    // The gradient of the factors has no size that buffers come in.
    const ofFactors = 4 * heads * (2 * length - 1);
    const rounding = bufferSize(ofFactors) - ofFactors;
    let pulled: Pullback<typeof inputs, Tensor> | undefined;
    const forward = taken(() => {
      pulled = pullback((p) => toeplitzProduct(p.factors, p.x), inputs);
    });
    const back = taken(() => void pulled?.backward(cotangent));
    const ratios = {
      forward: plan.bytes.total / forward,
      back: (backward?.plan.bytes.total ?? 0) / (back - rounding),
    };
    for (const [what, ratio] of Object.entries(ratios)) {
      expect(ratio, `${what} ${length}`).toBeGreaterThanOrEqual(1);
      expect(ratio, `${what} ${length}`).toBeLessThanOrEqual(1.5);
    }
  }
});

optional(
  'tensors beyond a binding are bound in parts, with the same bits',
  softwareGpuAvailability(),
  async () => {
    const backend = await openTestBackend();
    const { stream } = backend;
    for (const length of [100, 1200]) {
      const sizes = { batch: 2, heads: 3, length, columns: 6 };
      const shape = [sizes.batch, sizes.heads, length, sizes.columns];
      const view = (dims: Shape, numbers?: Float64Array): View => {
        const span = stream.scratch(storageBytes(dims, 'f32'));
        if (numbers) stream.write(span, new Uint8Array(Float32Array.from(numbers).buffer));
        return { span, shape: dims, dtype: 'f32' };
      };
      const random = (seed: number, dims: Shape): View => view(dims, randomNumbers(sizeOf(dims), seed));
      const factors = random(1, [sizes.heads, 2 * length - 1]);
      const [x, dOutput] = [random(2, shape), random(3, shape)];
      const made = async (bindingBytes: number): Promise<readonly Float32Array[]> => {
        const facts = { ...stream.facts, bindingBytes };
        const asked = { ...sizes, dtype: 'f32', saves: false } as const;
        const allocate = (dims: Shape): View => view(dims);
        const forward = fusedToeplitzProduct(stream, facts, allocate).prepare(asked, limits);
        const backward = fusedToeplitzBackward(stream, facts, allocate).prepare(asked, limits);
        if ('refusals' in forward || 'refusals' in backward) throw new Error('refused');
        const gradients = backward.run({ factors, x, dOutput }, 1);
        const results = [forward.run({ factors, x }, 1).output, gradients.x, gradients.factors];
        return Promise.all(
          results.map(async ({ span }) => new Float32Array((await stream.read(span)).slice().buffer)),
        );
      };
      const [output, ofX, ofFactors] = await made(2 ** 27);
      // Of six sequences at most five.
      const parts = await made(5.5 * 4 * length * 6);
      expect(parts.slice(0, 2)).toEqual([output, ofX]);
      const differences = ofFactors?.map((one, at) => Math.abs(one - (parts[2]?.[at] as number))) ?? [];
      expect(Math.max(...differences)).toBeLessThan(1e-4);
    }
  },
);

const request: ToeplitzProductRequest = {
  ...{ batch: 2, heads: 4, length: 16_384, columns: 9, dtype: 'f32', saves: false },
};

test('lengths are one row or about as many rows as a row has numbers', () => {
  const of = (length: number, logTile = 11) => splitOf({ ...request, length }, logTile);
  expect(of(1)).toEqual({ logTotal: 0, logRows: 0, logRow: 0 });
  expect(of(1024)).toEqual({ logTotal: 11, logRows: 0, logRow: 11 });
  expect(of(1024, 10)).toEqual({ logTotal: 11, logRows: 5, logRow: 6 });
  expect(of(1025)).toEqual({ logTotal: 12, logRows: 6, logRow: 6 });
  expect(of(16_384)).toEqual({ logTotal: 15, logRows: 7, logRow: 8 });
});

test('chunks cover the series of all heads once', () => {
  for (const size of [
    { heads: 4, series: 10, isOfOne: false },
    { heads: 3, series: 10, isOfOne: false },
    { heads: 1, series: 4, isOfOne: false },
    { heads: 3, series: 4, isOfOne: true },
  ]) {
    const seen = new Set<string>();
    for (const chunk of chunksOf(request, size)) {
      const { firstHead, heads, firstSeries, series, firstSequence, sequences } = chunk;
      expect([heads <= size.heads, series <= size.series]).toEqual([true, true]);
      // Five series of each entry of the batch, whose four sequences follow each other.
      const [first, last] = [Math.floor(firstSeries / 5), Math.floor((firstSeries + series - 1) / 5)];
      expect(firstSequence).toBeLessThanOrEqual(4 * first + firstHead);
      expect(firstSequence + sequences).toBeGreaterThanOrEqual(4 * last + firstHead + heads);
      for (let head = firstHead; head < firstHead + heads; head++)
        for (let one = firstSeries; one < firstSeries + series; one++) {
          expect(seen.has(`${head} ${one}`)).toBe(false);
          seen.add(`${head} ${one}`);
        }
    }
    expect(seen.size).toBe(4 * 10);
  }
});

const operation = fusedToeplitzProduct(undefined as never, PLAIN, undefined as never);
const gradients = fusedToeplitzBackward(undefined as never, PLAIN, undefined as never);
const limits = { targetScratchBytes: 2 ** 26, maxBufferBytes: 2 ** 28 } as Parameters<
  typeof operation.prepare
>[1];

test('scratch follows the target', () => {
  for (const targetScratchBytes of [2 ** 20, 2 ** 23, 2 ** 26]) {
    for (const prepare of [operation.prepare, gradients.prepare]) {
      const prepared = prepare({ ...request, columns: 400 }, { ...limits, targetScratchBytes });
      if ('refusals' in prepared) throw new Error(prepared.refusals.join());
      // Beside it, spectra of a MiB of the four heads, and buffers rounded up by a sixteenth.
      expect(prepared.scratchBytes(1)).toBeLessThan(1.1 * targetScratchBytes + 2 ** 21 + 2 ** 18);
    }
  }
});

test.each([
  ['f16', { dtype: 'f16' }, ['f16: made for f32']],
  [
    'a head beyond a binding',
    { columns: 2049 },
    ['a head of 134283520 bytes exceeds a binding of 134217728'],
  ],
] as const)('%s is refused', (_name, special, refusals) => {
  expect(operation.prepare({ ...request, ...special }, limits)).toEqual({ refusals });
});

test('more tokens than two passes can take are refused', () => {
  const long = { ...request, batch: 1, heads: 1, columns: 1, length: 2 ** 20 };
  expect(operation.prepare(long, limits)).not.toHaveProperty('refusals');
  expect(gradients.prepare(long, limits)).toEqual({
    refusals: ['1048576 tokens: rows of transforms exceed 1024 numbers'],
  });
});
