import type { ConformanceCase } from '../../harness/case.js';
import { eachCoordinate, type Nd } from '../../harness/support/nd.js';
import { philoxWord } from '../../harness/support/philox.js';
import { primitiveCase } from './primitive-case.js';

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
  // Four words a call: rows that begin and end inside a call, and one that wraps.
  { seed: 2 ** 40 + 1, offset: [0, 0, 3, 1], shape: [1, 2, 3, 6] },
  { seed: 5, offset: [0, 3, 0, 7], shape: [2, 1, 2, 1] },
  { seed: 6, offset: [0, 0, 0, 2 ** 32 - 3], shape: [1, 1, 2, 9] },
  { seed: 2 ** 52 + 9, offset: [0, 0, 0, 2], shape: [1, 1, 1, 70_001] },
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
