import type { DType } from '@topk-attention/core';
import type { BinaryOp, CompareOp, UnaryOp } from '@topk-attention/core/backend';
import type { ConformanceCase } from '../../harness/case.js';
import { at, list, type Nd, nd } from '../../harness/support/nd.js';
import { Random } from '../../harness/support/random.js';
import { primitiveCase } from './primitive-case.js';

/** erf from values of the C library: the suite does not test erf with erf. */
export const erfTable: readonly (readonly [number, number])[] = [
  [0, 0],
  [0.25, 0.2763263901682369],
  [0.5, 0.5204998778130465],
  [1, 0.8427007929497149],
  [1.5, 0.9661051464753108],
  [2, 0.9953222650189527],
  [3, 0.9999779095030014],
  [5, 0.9999999999984626],
  [-0.25, -0.2763263901682369],
  [-1, -0.8427007929497149],
  [-4, -0.9999999845827421],
];

export const unaryTables: Readonly<
  Record<Exclude<UnaryOp, 'erf'>, { readonly f: (x: number) => number; readonly xs: readonly number[] }>
> = {
  neg: { f: (x) => -x, xs: [0, 1, -2.5, 1e30, Number.POSITIVE_INFINITY] },
  abs: { f: Math.abs, xs: [0, 1, -2.5, -1e30, Number.NEGATIVE_INFINITY] },
  exp: { f: Math.exp, xs: [0, 1, -1, 0.5, -20, 10, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY] },
  log: { f: Math.log, xs: [1, 2, 0.5, 1e-30, 1e30, 0, Number.POSITIVE_INFINITY] },
  sqrt: { f: Math.sqrt, xs: [0, 1, 2, 0.25, 1e30, 1e-30, Number.POSITIVE_INFINITY] },
  rsqrt: { f: (x) => 1 / Math.sqrt(x), xs: [1, 2, 0.25, 1e30, 1e-30, Number.POSITIVE_INFINITY] },
  tanh: { f: Math.tanh, xs: [0, 0.5, -0.5, 2, -9, 100, -100, Number.POSITIVE_INFINITY] },
  sigmoid: { f: (x) => 1 / (1 + Math.exp(-x)), xs: [0, 0.5, -0.5, 8, -8, 200, -200] },
};

export const binaryFunctions: Readonly<Record<BinaryOp, (a: number, b: number) => number>> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  min: Math.min,
  max: Math.max,
};

const compareFunctions: Readonly<Record<CompareOp, (a: number, b: number) => boolean>> = {
  eq: (a, b) => a === b,
  lt: (a, b) => a < b,
  le: (a, b) => a <= b,
};

const binaryOps = Object.keys(binaryFunctions) as BinaryOp[];
const compareOps = Object.keys(compareFunctions) as CompareOp[];

/** Pairs of shapes with their common shape, ranks 0 to 5. */
const broadcasts: readonly (readonly [a: number[], b: number[], result: number[]])[] = [
  [[], [], []],
  [[3], [], [3]],
  [[], [2, 3], [2, 3]],
  [[2, 3], [3], [2, 3]],
  [
    [2, 1],
    [1, 3],
    [2, 3],
  ],
  [
    [2, 1, 3],
    [4, 1],
    [2, 4, 3],
  ],
  [
    [2, 1, 3, 1],
    [4, 1, 5],
    [2, 4, 3, 5],
  ],
  [
    [1, 1, 1, 4],
    [2, 3, 1, 1],
    [2, 3, 1, 4],
  ],
  [
    [2, 1, 2, 1, 3],
    [2, 1, 2, 1],
    [2, 2, 2, 2, 3],
  ],
];

function broadcastNd(a: Nd, b: Nd, shape: readonly number[], f: (a: number, b: number) => number): Nd {
  return nd(shape, (c) => f(at(a, c), at(b, c)));
}

const toBit = (value: boolean): number => (value ? 1 : 0);
const specials = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, -1, 2];

const unaryCases = (Object.keys(unaryTables) as (keyof typeof unaryTables)[]).map((op) =>
  primitiveCase(`${op} of ordinary, large and infinite numbers`, async (bench) => {
    const { f, xs } = unaryTables[op];
    const x = list(...xs.map(Math.fround));
    await bench.expect(bench.backend.unary(op, bench.upload(x)), { ...x, data: x.data.map(f) });
  }),
);

const broadcastCases = broadcasts.map(([aShape, bShape, shape]) =>
  primitiveCase(`binary, compare, logic and where broadcast [${aShape}] with [${bShape}]`, async (bench) => {
    const { backend } = bench;
    const random = new Random('broadcast');
    const a = random.integers(aShape, -2, 2);
    const b = random.integers(bShape, -2, 2);
    const [ta, tb] = [bench.upload(a), bench.upload(b)];
    for (const op of ['add', 'sub', 'mul', 'min', 'max'] as const) {
      await bench.expect(backend.binary(op, ta, tb), broadcastNd(a, b, shape, binaryFunctions[op]), {
        what: op,
        exact: true,
      });
    }
    for (const op of compareOps) {
      const holds = compareFunctions[op];
      await bench.expect(
        backend.compare(op, ta, tb),
        broadcastNd(a, b, shape, (x, y) => toBit(holds(x, y))),
        {
          what: op,
          dtype: 'bool',
        },
      );
    }
    const [p, q] = [random.booleans(aShape), random.booleans(bShape)];
    const [tp, tq] = [bench.upload(p, 'bool'), bench.upload(q, 'bool')];
    await bench.expect(
      backend.logicalAnd(tp, tq),
      broadcastNd(p, q, shape, (x, y) => x & y),
      { dtype: 'bool' },
    );
    await bench.expect(backend.logicalNot(tp), { ...p, data: p.data.map((x) => 1 - x) }, { dtype: 'bool' });
    const chosen = nd(shape, (c) => (at(p, c) === 1 ? at(a, c) : at(b, c)));
    await bench.expect(backend.where(tp, ta, tb), chosen, { what: 'where', exact: true });
    const reversed = nd(shape, (c) => (at(q, c) === 1 ? at(a, c) : at(b, c)));
    await bench.expect(backend.where(tq, ta, tb), reversed, { what: 'where, the other shape', exact: true });
  }),
);

export const elementwiseCases: readonly ConformanceCase[] = [
  ...unaryCases,
  primitiveCase('erf of tabled numbers', async (bench) => {
    const x = list(...erfTable.map(([input]) => input));
    await bench.expect(bench.backend.unary('erf', bench.upload(x)), {
      ...x,
      data: erfTable.map(([, y]) => y),
    });
  }),
  primitiveCase('unary functions propagate NaN', async (bench) => {
    const x = bench.upload(list(Number.NaN, 1));
    for (const op of ['neg', 'abs', 'exp', 'log', 'sqrt', 'rsqrt', 'tanh', 'erf', 'sigmoid'] as const) {
      const y = bench.own(bench.backend.unary(op, x));
      const [first = 0, second = 0] = await bench.read(y);
      if (!Number.isNaN(first) || Number.isNaN(second)) throw new Error(`${op}: got ${first} and ${second}`);
    }
  }),
  primitiveCase('neg and abs of i32', async (bench) => {
    const x = list(-5, 0, 7, 2 ** 30);
    await bench.expect(bench.backend.unary('neg', bench.upload(x, 'i32')), list(5, 0, -7, -(2 ** 30)), {
      dtype: 'i32',
    });
    await bench.expect(bench.backend.unary('abs', bench.upload(x, 'i32')), list(5, 0, 7, 2 ** 30), {
      dtype: 'i32',
    });
  }),
  ...broadcastCases,
  primitiveCase('div of floats, by zero and infinity too', async (bench) => {
    const a = list(1, -1, 0, 6, 1, Number.POSITIVE_INFINITY);
    const b = list(0, 0, 0, 4, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY);
    const expected = list(Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN, 1.5, 0, Number.NaN);
    await bench.expect(bench.backend.binary('div', bench.upload(a), bench.upload(b)), expected);
  }),
  ...binaryOps.map((op) =>
    primitiveCase(`${op} of i32${op === 'div' ? ' truncates towards zero' : ''}`, async (bench) => {
      const [a, b] = [list(7, -7, 7, -7, 1000003, 16777217), list(2, 2, -2, -2, 3, 1)];
      const expected = list(...a.data.map((x, i) => Math.trunc(binaryFunctions[op](x, b.data[i] as number))));
      await bench.expect(bench.backend.binary(op, bench.upload(a, 'i32'), bench.upload(b, 'i32')), expected, {
        dtype: 'i32',
      });
    }),
  ),
  ...compareOps.map((op) =>
    primitiveCase(`${op} of every pair of NaN, infinities, zeros and i32`, async (bench) => {
      const a = nd([6, 1], ([i = 0]) => specials[i] as number);
      const b = nd([6], ([i = 0]) => specials[i] as number);
      const holds = compareFunctions[op];
      const expected = broadcastNd(a, b, [6, 6], (x, y) => toBit(holds(x, y)));
      await bench.expect(bench.backend.compare(op, bench.upload(a), bench.upload(b)), expected, {
        dtype: 'bool',
      });
      const zeros = bench.backend.compare(op, bench.upload(list(0, -0)), bench.upload(list(-0, 0)));
      await bench.expect(zeros, list(toBit(holds(0, 0)), toBit(holds(0, 0))), {
        dtype: 'bool',
        what: '0 and -0',
      });
      const [c, d] = [list(2 ** 24, -3, 5), list(2 ** 24 + 1, -3, -5)];
      const whole = bench.backend.compare(op, bench.upload(c, 'i32'), bench.upload(d, 'i32'));
      await bench.expect(whole, list(...c.data.map((x, i) => toBit(holds(x, d.data[i] as number)))), {
        dtype: 'bool',
        what: 'i32',
      });
    }),
  ),
  primitiveCase('isNaN sees NaN and nothing else', async (bench) => {
    const bits = Uint32Array.of(
      0x7fc00000,
      0xffc00001,
      0x7f800001,
      0x7f800000,
      0xff800000,
      0,
      0x80000000,
      0x00000001,
    );
    const x = bench.own(bench.backend.upload(new Float32Array(bits.buffer), [2, 4], 'f32'));
    await bench.expect(
      bench.backend.isNaN(x),
      { shape: [2, 4], data: [1, 1, 1, 0, 0, 0, 0, 0] },
      { dtype: 'bool' },
    );
  }),
  primitiveCase('where of i32 and bool', async (bench) => {
    const c = bench.upload(list(1, 0, 1), 'bool');
    const [a, b] = [list(2 ** 24 + 1, 2, 3), list(4, -(2 ** 24) - 1, 6)];
    const whole = bench.backend.where(c, bench.upload(a, 'i32'), bench.upload(b, 'i32'));
    await bench.expect(whole, list(2 ** 24 + 1, -(2 ** 24) - 1, 3), { dtype: 'i32' });
    const flags = bench.backend.where(
      c,
      bench.upload(list(0, 0, 1), 'bool'),
      bench.upload(list(1, 1, 1), 'bool'),
    );
    await bench.expect(flags, list(0, 1, 1), { dtype: 'bool' });
  }),
  ...(
    [
      ['f32', 'i32', [1.9, -1.9, 0.5, -0.5, 3], [1, -1, 0, 0, 3]],
      ['f32', 'bool', [0, -0, 0.25, Number.NaN, Number.NEGATIVE_INFINITY], [0, 0, 1, 1, 1]],
      ['i32', 'f32', [0, -5, 16777216, 7, 1], [0, -5, 16777216, 7, 1]],
      ['i32', 'bool', [0, -1, 2, 256, 65536], [0, 1, 1, 1, 1]],
      ['bool', 'f32', [0, 1, 1, 0, 1], [0, 1, 1, 0, 1]],
      ['bool', 'i32', [0, 1, 1, 0, 1], [0, 1, 1, 0, 1]],
    ] as const
  ).map(([from, to, input, output]) =>
    primitiveCase(`cast ${from} to ${to}`, async (bench) => {
      await bench.expect(bench.backend.cast(bench.upload(list(...input), from), to), list(...output), {
        dtype: to as DType,
        exact: true,
      });
    }),
  ),
  primitiveCase(
    'f16: casts both ways, rounding to nearest even',
    async (bench) => {
      const x = list(1 / 3, 1 + 2 ** -11, 1 + 3 * 2 ** -11, 70000, -(2 ** -25), 2 ** -24, 0.1);
      const halves = bench.own(bench.backend.cast(bench.upload(x), 'f16'));
      const expected = list(
        0.333251953125,
        1,
        1 + 2 ** -9,
        Number.POSITIVE_INFINITY,
        -0,
        2 ** -24,
        0.0999755859375,
      );
      await bench.expect(bench.backend.cast(halves, 'f32'), expected, { exact: true });
    },
    { f16: true },
  ),
  primitiveCase(
    'f16: arithmetic',
    async (bench) => {
      const random = new Random('f16');
      const [a, b] = [random.integers([3, 4], -20, 20), random.integers([4], 1, 9)];
      for (const op of binaryOps) {
        const expected = broadcastNd(a, b, [3, 4], binaryFunctions[op]);
        const result = bench.backend.binary(op, bench.upload(a, 'f16'), bench.upload(b, 'f16'));
        await bench.expect(result, expected, { what: op, dtype: 'f16' });
      }
    },
    { f16: true },
  ),
];
