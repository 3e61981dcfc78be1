import type { ConformanceCase } from '../../harness/case.js';
import { checkEqual } from '../../harness/support/assert.js';
import { at, eachCoordinate, list, type Nd, nd } from '../../harness/support/nd.js';
import { Random } from '../../harness/support/random.js';
import { primitiveCase } from './primitive-case.js';

const permutations: readonly { readonly shape: readonly number[]; readonly order: readonly number[] }[] = [
  { shape: [3], order: [0] },
  { shape: [2, 3], order: [1, 0] },
  { shape: [2, 3, 4], order: [2, 0, 1] },
  { shape: [2, 3, 4], order: [0, 2, 1] },
  { shape: [2, 3, 2, 4], order: [0, 2, 1, 3] },
  { shape: [2, 3, 1, 4], order: [3, 1, 0, 2] },
  { shape: [2, 1, 3, 2, 2], order: [4, 2, 0, 3, 1] },
  { shape: [37, 65], order: [1, 0] },
];

const slices: readonly (readonly [shape: number[], starts: number[], sizes: number[]])[] = [
  [[5], [1], [3]],
  [[5], [4], [1]],
  [
    [4, 5],
    [1, 2],
    [2, 3],
  ],
  [
    [4, 5],
    [0, 0],
    [4, 5],
  ],
  [
    [3, 4, 5],
    [2, 0, 1],
    [1, 4, 3],
  ],
  [
    [2, 3, 4, 5],
    [1, 1, 0, 2],
    [1, 2, 4, 2],
  ],
  [
    [2, 2, 2, 3, 3],
    [0, 1, 0, 1, 1],
    [2, 1, 2, 2, 2],
  ],
];

function overwritten(dst: Nd, x: Nd, starts: readonly number[]): Nd {
  const data = [...dst.data];
  for (const coordinates of eachCoordinate(x.shape)) {
    const position = coordinates.reduce(
      (sum, coordinate, axis) => sum * (dst.shape[axis] as number) + coordinate + (starts[axis] as number),
      0,
    );
    data[position] = at(x, coordinates);
  }
  return { shape: dst.shape, data };
}

const writes: readonly (readonly [dst: number[], x: number[], starts: number[]])[] = [
  [[5], [2], [3]],
  [
    [4, 6],
    [2, 3],
    [1, 2],
  ],
  [
    [2, 5, 3],
    [2, 1, 3],
    [0, 3, 0],
  ],
  [
    [2, 2, 4, 3],
    [2, 2, 2, 3],
    [0, 0, 1, 0],
  ],
  [
    [3, 2],
    [3, 2],
    [0, 0],
  ],
];

const writeCases = writes.flatMap(([dstShape, shape, starts]) =>
  [false, true].map((exclusive) =>
    primitiveCase(
      `writeInto [${dstShape}] of [${shape}] at [${starts}]${exclusive ? ', exclusive' : ''}`,
      async (bench) => {
        const random = new Random('writeInto');
        const dst = random.uniform(dstShape);
        const x = random.uniform(shape);
        const target = bench.upload(dst);
        const result = bench.backend.writeInto(target, bench.upload(x), starts, exclusive);
        await bench.expect(result, overwritten(dst, x, starts), { exact: true });
        if (!exclusive) checkEqual('dst is unchanged', await bench.read(target), dst.data);
      },
    ),
  ),
);

export const layoutCases: readonly ConformanceCase[] = [
  ...(
    [
      [[], [1]],
      [[1], []],
      [[6], [2, 3]],
      [
        [2, 3, 4],
        [6, 4],
      ],
      [
        [2, 6],
        [2, 3, 1, 2],
      ],
      [
        [4, 6],
        [2, 2, 2, 3, 1],
      ],
    ] as const
  ).map(([from, to]) =>
    primitiveCase(`reshape [${from}] to [${to}]`, async (bench) => {
      const x = new Random('reshape').uniform(from);
      await bench.expect(
        bench.backend.reshape(bench.upload(x), to),
        { shape: to, data: x.data },
        { exact: true },
      );
    }),
  ),
  ...permutations.map(({ shape, order }) =>
    primitiveCase(`transpose [${shape}] by [${order}]`, async (bench) => {
      const x = new Random('transpose').uniform(shape);
      const expected = nd(
        order.map((axis) => shape[axis] as number),
        (coordinates) => {
          const source = new Array<number>(shape.length);
          order.forEach((axis, target) => {
            source[axis] = coordinates[target] as number;
          });
          return at(x, source);
        },
      );
      await bench.expect(bench.backend.transpose(bench.upload(x), order), expected, { exact: true });
    }),
  ),
  primitiveCase('transpose then reshape: no assumption about contiguous views', async (bench) => {
    const x = nd([2, 3, 4], (_, i) => i);
    const turned = bench.own(bench.backend.transpose(bench.upload(x), [1, 0, 2]));
    const flat = bench.own(bench.backend.reshape(turned, [3, 8]));
    const doubled = bench.backend.binary('add', flat, flat);
    const expected = nd([3, 8], ([j = 0, rest = 0]) => 2 * at(x, [Math.floor(rest / 4), j, rest % 4]));
    await bench.expect(doubled, expected, { exact: true });
  }),
  ...slices.map(([shape, starts, sizes]) =>
    primitiveCase(`slice [${shape}] at [${starts}] of [${sizes}]`, async (bench) => {
      const x = new Random('slice').uniform(shape);
      const expected = nd(sizes, (c) =>
        at(
          x,
          c.map((coordinate, axis) => coordinate + (starts[axis] as number)),
        ),
      );
      await bench.expect(bench.backend.slice(bench.upload(x), starts, sizes), expected, { exact: true });
    }),
  ),
  primitiveCase('slice of i32 and bool, and a slice of a slice', async (bench) => {
    const x = nd([3, 4], (_, i) => 2 ** 24 + i);
    const inner = bench.own(bench.backend.slice(bench.upload(x, 'i32'), [1, 1], [2, 3]));
    await bench.expect(
      bench.backend.slice(inner, [1, 1], [1, 2]),
      { shape: [1, 2], data: [2 ** 24 + 10, 2 ** 24 + 11] },
      {
        dtype: 'i32',
      },
    );
    const flags = nd([5], (_, i) => i % 2);
    await bench.expect(bench.backend.slice(bench.upload(flags, 'bool'), [2], [3]), list(0, 1, 0), {
      dtype: 'bool',
    });
  }),
  ...[0, 1, 2].map((axis) =>
    primitiveCase(`concat of three along axis ${axis}`, async (bench) => {
      const random = new Random(`concat ${axis}`);
      const parts = [1, 3, 2].map((extent) =>
        random.uniform([2, 3, 2].map((own, a) => (a === axis ? extent : own))),
      );
      const shape = [2, 3, 2].map((own, a) => (a === axis ? 6 : own));
      const bounds = [0, 1, 4];
      const expected = nd(shape, (c) => {
        const along = c[axis] as number;
        const part = along < 1 ? 0 : along < 4 ? 1 : 2;
        return at(
          parts[part] as Nd,
          c.map((own, a) => (a === axis ? own - (bounds[part] as number) : own)),
        );
      });
      const uploaded = parts.map((part) => bench.upload(part));
      await bench.expect(bench.backend.concat(uploaded, axis), expected, { exact: true });
    }),
  ),
  primitiveCase('concat of one tensor, and of the same tensor twice', async (bench) => {
    const x = bench.upload(list(1, 2));
    await bench.expect(bench.backend.concat([x], 0), list(1, 2), { exact: true });
    await bench.expect(bench.backend.concat([x, x], 0), list(1, 2, 1, 2), { exact: true });
  }),
  ...writeCases,
  primitiveCase('writeInto leaves other views of dst alone, exclusive or not', async (bench) => {
    for (const exclusive of [false, true]) {
      const dst = bench.upload(list(1, 2, 3, 4));
      const view = bench.own(bench.backend.reshape(dst, [2, 2]));
      const written = bench.backend.writeInto(dst, bench.upload(list(9)), [1], exclusive);
      await bench.expect(written, list(1, 9, 3, 4), { exact: true });
      checkEqual('the view', await bench.read(view), [1, 2, 3, 4]);
    }
  }),
  primitiveCase('writeInto, repeated: a buffer filled chunk by chunk', async (bench) => {
    let buffer = bench.own(bench.backend.fill(0, [6, 2], 'f32'));
    for (let row = 0; row < 6; row += 2) {
      const chunk = bench.upload(nd([2, 2], (_, i) => 10 * row + i));
      const next = bench.own(bench.backend.writeInto(buffer, chunk, [row, 0], true));
      bench.release(buffer);
      bench.release(chunk);
      buffer = next;
    }
    checkEqual('buffer', await bench.read(buffer), [0, 1, 2, 3, 20, 21, 22, 23, 40, 41, 42, 43]);
  }),
];
