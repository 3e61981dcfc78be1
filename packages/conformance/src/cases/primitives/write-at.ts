import { type DType, pullback, type Tensor, tensor, writeAt } from '@topk-attention/core';
import { type ConformanceCase, needsHalves } from '../../harness/case.js';
import { checkClose, checkEqual } from '../../harness/support/assert.js';
import { eachCoordinate, type Nd } from '../../harness/support/nd.js';
import { Random } from '../../harness/support/random.js';
import { decode, encode } from '../../harness/support/workbench.js';

interface Write {
  readonly dst: readonly number[];
  readonly axis: number;
  readonly length: number;
  readonly start: number;
}

const writes: readonly Write[] = [
  { dst: [5], axis: 0, length: 2, start: 3 },
  { dst: [2, 3, 7, 5], axis: 2, length: 1, start: 4 },
  { dst: [2, 3, 7, 5], axis: 2, length: 1, start: 6 },
  { dst: [2, 3, 7, 5], axis: 2, length: 3, start: 1 },
  { dst: [3, 7], axis: -1, length: 6, start: 1 },
  { dst: [3, 7], axis: -1, length: 6, start: 0 },
  // Starts at which the block would not fit.
  { dst: [4, 6, 2], axis: 1, length: 2, start: -3 },
  { dst: [4, 6, 2], axis: 1, length: 2, start: 5 },
  { dst: [4, 6, 2], axis: 1, length: 2, start: 2 ** 31 - 1 },
  { dst: [4, 3], axis: 0, length: 4, start: 2 },
  { dst: [4, 3], axis: 0, length: 0, start: 2 },
  { dst: [0, 3], axis: 1, length: 1, start: 2 },
];

function drawn(name: string, { dst, axis, length }: Write): { readonly whole: Nd; readonly block: Nd } {
  const random = new Random(name);
  const along = axis < 0 ? axis + dst.length : axis;
  const shape = dst.map((extent, at) => (at === along ? length : extent));
  return { whole: random.integers(dst, -99, 99), block: random.integers(shape, -99, 99) };
}

/** The place in dst of each element of the block. */
function placesOf({ dst, axis, length, start }: Write, block: Nd): number[] {
  const along = axis < 0 ? axis + dst.length : axis;
  const first = Math.min(Math.max(start, 0), (dst[along] as number) - length);
  return [...eachCoordinate(block.shape)].map((coordinates) =>
    coordinates.reduce(
      (sum, coordinate, at) => sum * (dst[at] as number) + coordinate + (at === along ? first : 0),
      0,
    ),
  );
}

const dtypes: readonly DType[] = ['f32', 'i32', 'f16'];

/** `writeAt`: in place, composed, or by a copy where something else holds dst. */
export const writeAtCases: readonly ConformanceCase[] = [
  ...writes.flatMap((write) =>
    dtypes.map((dtype): ConformanceCase => {
      const name = `writeAt ${dtype} [${write.dst}], ${write.length} along ${write.axis} at ${write.start}`;
      return {
        name,
        group: 'primitives',
        ...(dtype === 'f16' && { notFor: needsHalves }),
        async run({ backend }) {
          const { whole, block } = drawn(name, write);
          const expected = [...whole.data];
          for (const [at, place] of placesOf(write, block).entries()) {
            expected[place] = block.data[at] as number;
          }
          const up = ({ data, shape }: Nd) => tensor(backend, encode(data, dtype), shape, dtype);
          const x = up(block);
          const start = tensor(backend, [write.start], [1], 'i32');
          for (const isHeld of [false, true]) {
            const dst = up(whole);
            const held = isHeld ? dst.alias() : undefined;
            const made = writeAt(dst, x, write.axis, start);
            checkEqual('result', decode(await made.data(), dtype), expected);
            if (held !== undefined) {
              checkEqual('what is held', decode(await held.data(), dtype), whole.data);
            }
            held?.dispose();
            made.dispose();
          }
          x.dispose();
          start.dispose();
        },
      };
    }),
  ),
  {
    name: 'writeAt has gradients',
    group: 'primitives',
    async run({ backend, tolerance }) {
      const write: Write = { dst: [2, 5, 3], axis: 1, length: 2, start: 2 };
      const { whole, block } = drawn('writeAt has gradients', write);
      const cotangent = new Random('cotangent').uniform(whole.shape);
      const places = placesOf(write, block);
      const up = ({ data, shape }: Nd) => tensor(backend, encode(data, 'f32'), shape);
      const [dst, x, g] = [up(whole), up(block), up(cotangent)];
      const start = tensor(backend, [write.start], [], 'i32');
      const pulled = pullback(
        (given: { readonly dst: Tensor; readonly x: Tensor }) =>
          writeAt(given.dst.alias(), given.x, write.axis, start),
        { dst, x },
      );
      const gradients = pulled.backward(g);
      pulled.dispose();
      const read = async (one: Tensor): Promise<number[]> => decode(await one.data(), 'f32');
      checkClose(
        'gradient of dst',
        await read(gradients.dst),
        cotangent.data.map((one, at) => (places.includes(at) ? 0 : one)),
        tolerance,
      );
      checkClose(
        'gradient of x',
        await read(gradients.x),
        places.map((place) => cotangent.data[place] as number),
        tolerance,
      );
      for (const one of [dst, x, g, start, pulled.output, gradients.dst, gradients.x]) one.dispose();
    },
  },
];
