import type { ConformanceCase } from '../case.js';
import { eachCoordinate, type Nd } from '../support/nd.js';
import { primitiveCase } from './primitive-case.js';

/**
 * Philox4x32-10 by 64-bit whole numbers: slower than any real one, and written apart from core's.
 * Random123's known answers for it are among the golden values.
 */
function philoxWord(counter: readonly number[], seed: number): number {
  let [c0 = 0n, c1 = 0n, c2 = 0n, c3 = 0n] = counter.map((word) => BigInt.asUintN(32, BigInt(word)));
  let k0 = BigInt.asUintN(32, BigInt(seed));
  let k1 = BigInt.asUintN(32, BigInt(seed) >> 32n);
  for (let round = 0; round < 10; round++) {
    const p0 = 0xd2511f53n * c0;
    const p1 = 0xcd9e8d57n * c2;
    [c0, c1, c2, c3] = [
      (p1 >> 32n) ^ c1 ^ k0,
      BigInt.asUintN(32, p1),
      (p0 >> 32n) ^ c3 ^ k1,
      BigInt.asUintN(32, p0),
    ];
    k0 = BigInt.asUintN(32, k0 + 0x9e3779b9n);
    k1 = BigInt.asUintN(32, k1 + 0xbb67ae85n);
  }
  return Number(BigInt.asIntN(32, c0));
}

type Offset = readonly [number, number, number, number];

const grids: readonly {
  readonly seed: number;
  readonly offset: Offset;
  readonly shape: readonly number[];
}[] = [
  { seed: 0, offset: [0, 0, 0, 0], shape: [1] },
  { seed: 7, offset: [1, 2, 3, 4], shape: [] },
  { seed: 42, offset: [0, 0, 0, 0], shape: [33] },
  { seed: 2 ** 32 - 1, offset: [0, 5, 0, 0], shape: [3, 7] },
  { seed: 2 ** 32 + 12345, offset: [2, 0, 100, 3], shape: [2, 3, 5] },
  { seed: Number.MAX_SAFE_INTEGER, offset: [1, 0, 7, 0], shape: [2, 2, 3, 4] },
];

export const randomBitsCases: readonly ConformanceCase[] = grids.map(({ seed, offset, shape }) =>
  primitiveCase(`randomBits of [${shape}], seed ${seed}, offset [${offset}]`, async (bench) => {
    const expected: Nd = {
      shape,
      data: eachCoordinate(shape).map((coordinates) =>
        philoxWord(
          offset.map((word, axis) => word + (coordinates[axis] ?? 0)),
          seed,
        ),
      ),
    };
    await bench.expect(bench.backend.randomBits(seed, offset, shape), expected, { dtype: 'i32' });
  }),
);
