import * as ops from '@topk-attention/core';
import type { ConformanceCase, ConformanceContext } from '../../harness/case.js';
import { check, checkClose, checkSameBits, checkShape, checkThrows } from '../../harness/support/assert.js';
import { eachCoordinate } from '../../harness/support/nd.js';
import { philoxWord } from '../../harness/support/philox.js';
import { Random } from '../../harness/support/random.js';
import { decode, encode } from '../../harness/support/workbench.js';

function dropoutCase(name: string, run: ConformanceCase['run']): ConformanceCase {
  return { name: `dropout: ${name}`, group: 'primitives', run };
}

type Options = Readonly<Record<'rate' | 'seed', number>>;

/** Whether each of `size` elements is kept. */
function keptOf({ rate, seed }: Options, size: number): boolean[] {
  const threshold = Math.floor(rate * 2 ** 32) - 2 ** 31;
  return Array.from({ length: size }, (_, i) => philoxWord([0, 0, 0, i], seed) >= threshold);
}

/** Dropout by the ops that it stands for. */
function byOps(x: ops.Tensor, { rate, seed }: Options): ops.Tensor {
  return ops.scope(() => {
    const bits = ops.reshape(ops.randomBits(x.backend, seed, [1, 1, 1, x.size]), x.shape);
    return ops.where(ops.le(Math.floor(rate * 2 ** 32) - 2 ** 31, bits), ops.mul(x, 1 / (1 - rate)), 0);
  });
}

const floatsOf = ({ backend }: ConformanceContext): ('f32' | 'f16')[] =>
  backend.capabilities.dtypes.includes('f16') ? ['f32', 'f16'] : ['f32'];

interface Made {
  readonly output: ops.Tensor;
  readonly gradient: ops.Tensor;
}

/** The output, and the gradient that `upstream` gives. */
function differentiate(f: (x: ops.Tensor) => ops.Tensor, x: ops.Tensor, upstream: ops.Tensor): Made {
  const pulled = ops.pullback(f, x);
  const gradient = pulled.backward(upstream);
  pulled.dispose();
  return { output: pulled.output, gradient };
}

function disposeAll(...xs: readonly ops.Tensor[]): void {
  for (const one of xs) one.dispose();
}

/** Sizes around the four words of a call. */
const shapes: readonly ops.Shape[] = [[], [1], [7], [4, 8], [3, 5, 11], [2, 3, 4, 5, 6], [5, 1, 402]];
const choices: readonly Options[] = [
  { rate: 0.1, seed: 0 },
  { rate: 0.5, seed: 2 ** 40 + 17 },
  { rate: 0.9, seed: Number.MAX_SAFE_INTEGER },
];

export const dropoutCases: readonly ConformanceCase[] = [
  ...shapes.map((shape) =>
    dropoutCase(`of [${shape}], forward and backward, with the bits of its ops`, async (context) => {
      const random = new Random(`dropout ${shape}`);
      const size = ops.sizeOf(shape);
      for (const dtype of floatsOf(context)) {
        for (const options of choices) {
          const values = encode(random.uniform([size]).data, dtype);
          const x = ops.tensor(context.backend, values, shape, dtype);
          const upstream = ops.tensor(
            context.backend,
            encode(random.uniform([size]).data, dtype),
            shape,
            dtype,
          );
          const own = differentiate((one) => ops.dropout(one, options), x, upstream);
          const expected = differentiate((one) => byOps(one, options), x, upstream);
          const what = `${dtype}, rate ${options.rate}`;
          checkShape(what, own.output.shape, shape);
          check(own.output.dtype === dtype && own.gradient.dtype === dtype, `${what}: another dtype`);
          checkSameBits(what, await own.output.data(), await expected.output.data());
          checkSameBits(`${what}: gradient`, await own.gradient.data(), await expected.gradient.data());
          const scale = 1 / (1 - options.rate);
          const kept = keptOf(options, size);
          checkClose(
            what,
            decode(await own.output.data(), dtype),
            decode(values, dtype).map((value, i) => (kept[i] ? value * scale : 0)),
            dtype === 'f16' ? context.tolerances.f16 : context.tolerance,
          );
          disposeAll(x, upstream, own.output, own.gradient, expected.output, expected.gradient);
        }
      }
    }),
  ),
  ...(
    [
      [
        [1, 2, 3, 4],
        [0, 0, 0, 0],
      ],
      [
        [2, 3, 4, 12],
        [1, 0, 7, 8],
      ],
      [
        [2, 1, 5, 7],
        [0, 2, 100, 0],
      ],
      [
        [1, 2, 3, 8],
        [0, 0, 1, 3],
      ],
      [
        [2, 0, 3, 8],
        [0, 0, 0, 0],
      ],
    ] as const
  ).map(([shape, offset]) =>
    dropoutCase(`of a part [${shape}] from [${offset}] on, forward and backward`, async (context) => {
      const random = new Random(`dropout of a part ${shape}`);
      const options = { rate: 0.4, seed: 2 ** 33 + 5 };
      for (const dtype of floatsOf(context)) {
        const [x, upstream] = [0, 1].map(() =>
          ops.tensor(context.backend, encode(random.uniform(shape).data, dtype), shape, dtype),
        ) as [ops.Tensor, ops.Tensor];
        const own = differentiate((one) => ops.dropout(one, { ...options, offset }), x, upstream);
        // Word by word, by the coordinates in the larger tensor.
        const kept = eachCoordinate(shape).map(
          (place) =>
            philoxWord(
              offset.map((first, axis) => first + (place[axis] as number)),
              options.seed,
            ) >=
            Math.floor(options.rate * 2 ** 32) - 2 ** 31,
        );
        for (const [what, made, of] of [
          ['output', own.output, x],
          ['gradient', own.gradient, upstream],
        ] as const) {
          const values = decode(await of.data(), dtype);
          checkShape(what, made.shape, shape);
          checkClose(
            `${dtype}: ${what}`,
            decode(await made.data(), dtype),
            values.map((value, i) => (kept[i] ? value / (1 - options.rate) : 0)),
            dtype === 'f16' ? context.tolerances.f16 : context.tolerance,
          );
        }
        disposeAll(x, upstream, own.output, own.gradient);
      }
    }),
  ),
  dropoutCase('what is not finite is loud where it is kept, and 0 where it is dropped', async (context) => {
    const options = { rate: 0.5, seed: 12 };
    const odd = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0, 65504, -1, 2 ** -24];
    const size = 70;
    for (const dtype of floatsOf(context)) {
      const values = Array.from({ length: size }, (_, i) => odd[i % odd.length] as number);
      const x = ops.tensor(context.backend, encode(values, dtype), [size], dtype);
      const [own, expected] = [ops.dropout(x, options), byOps(x, options)];
      const got = decode(await own.data(), dtype);
      checkSameBits(dtype, await own.data(), await expected.data());
      for (const [i, isKept] of keptOf(options, size).entries()) {
        const value = values[i] as number;
        const isRight = isKept ? Number.isFinite(value) || !Number.isFinite(got[i]) : got[i] === 0;
        check(isRight, `${dtype}: ${value} becomes ${got[i]}, ${isKept ? 'kept' : 'dropped'}`);
      }
      disposeAll(x, own, expected);
    }
  }),
  dropoutCase(
    'of many elements, a share that follows the rate and a choice that follows the seed',
    async ({ backend }) => {
      const size = 70_001;
      const x = ops.fill(backend, 1, [size]);
      const draw = async (options: Options): Promise<ArrayLike<number>> => {
        const y = ops.dropout(x, options);
        const data = await y.data();
        y.dispose();
        return data;
      };
      for (const rate of [0.1, 0.75]) {
        const made = Array.from(await draw({ rate, seed: 3 }));
        const kept = keptOf({ rate, seed: 3 }, size);
        check(
          made.every((one, i) => (one !== 0) === kept[i]),
          `rate ${rate}: other elements are dropped`,
        );
        const share = made.filter((one) => one === 0).length / size;
        check(Math.abs(share - rate) < 0.01, `rate ${rate}: a share of ${share} is dropped`);
        const other = await draw({ rate, seed: 4 });
        check(
          made.some((one, i) => one !== other[i]),
          'the seed changes nothing',
        );
      }
      x.dispose();
    },
  ),
  dropoutCase('the gradient of a gradient', async ({ backend, tolerance }) => {
    const options = { rate: 0.25, seed: 9 };
    const values = [1, -2, 3, 0.5, -1.5, 2.5];
    const x = ops.tensor(backend, values);
    const cubes = ops.grad((one: ops.Tensor) =>
      ops.scope(() => {
        const y = ops.dropout(one, options);
        return ops.sum(ops.mul(y, ops.mul(y, y)));
      }),
    );
    const second = ops.grad((one: ops.Tensor) => ops.scope(() => ops.sum(cubes(one))));
    const made = second(x);
    const kept = keptOf(options, values.length);
    checkClose(
      'second derivative',
      await made.data(),
      values.map((value, i) => (kept[i] ? (6 * value) / 0.75 ** 3 : 0)),
      tolerance,
    );
    disposeAll(x, made);
  }),
  dropoutCase('a rate of 0 and an empty tensor; what is refused', async ({ backend }) => {
    const x = ops.tensor(backend, [1, 2, 3]);
    const same = ops.dropout(x, { rate: 0, seed: 1 });
    checkSameBits('a rate of 0', await same.data(), await x.data());
    const none = ops.zeros(backend, [0, 3]);
    const still = ops.dropout(none, { rate: 0.5, seed: 1 });
    checkShape('an empty tensor', still.shape, [0, 3]);
    for (const rate of [1, -0.1, Number.NaN]) {
      checkThrows(`rate ${rate}`, () => ops.dropout(x, { rate, seed: 1 }), 'INVALID_OPTION');
    }
    for (const seed of [-1, 0.5, 2 ** 53]) {
      checkThrows(`seed ${seed}`, () => ops.dropout(x, { rate: 0.5, seed }), 'INVALID_OPTION');
    }
    checkThrows(
      'rank 1',
      () => ops.dropout(x, { rate: 0.5, seed: 1, offset: [0, 0, 0, 0] }),
      'INVALID_OPTION',
    );
    const part = ops.zeros(backend, [1, 1, 1, 4]);
    checkThrows(
      '-1',
      () => ops.dropout(part, { rate: 0.5, seed: 1, offset: [0, 0, -1, 0] }),
      'INVALID_OPTION',
    );
    part.dispose();
    const whole = ops.tensor(backend, Int32Array.of(1));
    checkThrows('i32', () => ops.dropout(whole, { rate: 0.5, seed: 1 }), 'DTYPE_MISMATCH');
    disposeAll(x, same, none, still, whole);
  }),
];
