import * as ops from '@topk-attention/core';
import type { BinaryOp, UnaryOp } from '@topk-attention/core/backend';
import { type ConformanceCase, needsHalves } from '../../harness/case.js';
import { check, checkClose, checkShape } from '../../harness/support/assert.js';
import { list, type Nd, nd } from '../../harness/support/nd.js';
import { Random } from '../../harness/support/random.js';
import { decode, encode } from '../../harness/support/workbench.js';
import { binaryFunctions, erfTable, unaryTables } from './elementwise.js';

type Run = (
  context: Parameters<ConformanceCase['run']>[0] & {
    /** Makes a tensor that is freed at the end. */
    readonly upload: (x: Nd) => ops.Tensor;
    /** Shape and every value of a tensor, which is freed at the end. */
    readonly expect: (what: string, got: ops.Tensor, expected: Nd) => Promise<void>;
  },
) => Promise<void>;

function programCase(name: string, run: Run): ConformanceCase {
  return {
    name: `elementwise program: ${name}`,
    group: 'primitives',
    async run(context) {
      const owned: ops.Tensor[] = [];
      const own = (x: ops.Tensor): ops.Tensor => {
        owned.push(x);
        return x;
      };
      try {
        await run({
          ...context,
          upload: (x) => own(ops.tensor(context.backend, encode(x.data, 'f32'), x.shape)),
          async expect(what, got, expected) {
            own(got);
            checkShape(what, got.shape, expected.shape);
            checkClose(what, await got.data(), expected.data, context.tolerance);
          },
        });
      } finally {
        for (const one of owned) one.dispose();
      }
    },
  };
}

const { add, choose, mul, neg, sub } = ops.terms;
const unaryProgram = (op: UnaryOp) =>
  ops.elementwiseProgram({ inputs: ['x'] }, ({ x }) => ({ y: ops.terms[op](x) }));
const binaryProgram = (op: BinaryOp) =>
  ops.elementwiseProgram({ inputs: ['a', 'b'] }, ({ a, b }) => ({ y: ops.terms[op](a, b) }));

const unary: Readonly<Record<UnaryOp, Nd>> & { readonly [op: string]: Nd } = {
  ...unaryExpected(),
  erf: list(...erfTable.map(([, y]) => y)),
};

function unaryExpected(): Record<keyof typeof unaryTables, Nd> {
  const entries = Object.entries(unaryTables).map(([op, { f, xs }]) => [
    op,
    list(...xs.map((x) => f(Math.fround(x)))),
  ]);
  return Object.fromEntries(entries);
}

const argumentsOf = (op: UnaryOp): Nd =>
  list(...(op === 'erf' ? erfTable.map(([x]) => x) : unaryTables[op].xs.map(Math.fround)));

/** The ops by themselves. */
const { abs, div, erf, exp, log, max, min, rsqrt, sigmoid, sqrt, tanh } = ops;
const alone = {
  ...{ neg: ops.neg, abs, exp, log, sqrt, rsqrt, tanh, erf, sigmoid },
  ...{ add: ops.add, sub: ops.sub, mul: ops.mul, div, min, max },
};

/** Where a program may go other ways than the op alone: not ordinary, not normal, near bounds. */
const specials = [
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
  0,
  -0,
  -1,
  2,
  1e-40,
  -1e-40,
  2 ** -126,
  3.4e38,
  -3.4e38,
].map(Math.fround);
// min and max of NaN are undefined; what a subnormal divides, or is divided by, is the device's affair.
const operandsOf = (op: BinaryOp): readonly number[] =>
  specials.filter(
    (x) =>
      !((op === 'min' || op === 'max') && Number.isNaN(x)) &&
      !(op === 'div' && Math.abs(x) === Math.fround(1e-40)),
  );

const unaryCases = (Object.keys(unary) as UnaryOp[]).map((op) =>
  programCase(`${op}`, async ({ backend, upload, expect }) => {
    const program = unaryProgram(op);
    const made = ops.mapElements(program, { x: upload(argumentsOf(op)) });
    await expect('tabled numbers', made.y, unary[op] as Nd);
    const x = upload(list(...specials));
    const own = alone[op](x);
    const expected = list(...(await own.data()));
    own.dispose();
    await expect(`as the op alone on ${backend.name}`, ops.mapElements(program, { x }).y, expected);
  }),
);

const binaryCases = (Object.keys(binaryFunctions) as BinaryOp[]).map((op) =>
  programCase(`${op}`, async ({ backend, upload, expect }) => {
    const program = binaryProgram(op);
    const random = new Random(op);
    const [p, q] = [random.integers([5, 7], -9, 9), random.integers([5, 7], 1, 9)];
    const ordinary = nd([5, 7], (_, at) => binaryFunctions[op](p.data[at] as number, q.data[at] as number));
    const made = ops.mapElements(program, { a: upload(p), b: upload(q) });
    await expect('ordinary numbers', made.y, ordinary);
    const operands = operandsOf(op);
    const count = operands.length;
    const a = upload(nd([count, count], ([i = 0]) => operands[i] as number));
    const b = upload(nd([count, count], ([, j = 0]) => operands[j] as number));
    const own = alone[op](a, b);
    const expected = { shape: [count, count], data: [...(await own.data())] };
    own.dispose();
    await expect(`as the op alone on ${backend.name}`, ops.mapElements(program, { a, b }).y, expected);
  }),
);

/** A step of an optimiser: several inputs, outputs and numbers, and an expression used twice. */
const momentum = ops.elementwiseProgram(
  { inputs: ['x', 'g', 'm'], numbers: ['rate', 'kept'] },
  ({ x, g, m, rate, kept }) => {
    const next = add(mul(m, kept), g);
    return { x: sub(x, mul(next, rate)), m: next };
  },
);

const constants = [0, -0, 0.1, 16777217, 1e20, -1e21, 3.4e38, 1e-30, 1e-45, Math.PI];

export const elementwiseProgramCases: readonly ConformanceCase[] = [
  ...unaryCases,
  ...binaryCases,
  ...[[], [0], [3, 0, 2], [1], [257], [7, 10_001]].map((shape) =>
    programCase(`several outputs and numbers of [${shape}]`, async ({ upload, expect }) => {
      const random = new Random('programs');
      const [x, g, m] = [random.uniform(shape), random.uniform(shape), random.uniform(shape)];
      const inputs = { x: upload(x), g: upload(g), m: upload(m) };
      // The same program with other numbers: nothing of the first call may stay.
      for (const [rate, kept] of [
        [0.5, 0.25],
        [-2, 0],
      ] as const) {
        const numbers = new ops.ProgramNumbers(upload(list(rate, kept)));
        const made = ops.mapElements(momentum, inputs, numbers);
        const next = nd(shape, (_, at) => (m.data[at] as number) * kept + (g.data[at] as number));
        await expect('m', made.m, next);
        await expect(
          'x',
          made.x,
          nd(shape, (_, at) => (x.data[at] as number) - (next.data[at] as number) * rate),
        );
        numbers.dispose();
      }
    }),
  ),
  ...[
    [1, 3],
    [3, 1],
    [5, 64],
    [2, 130, 33],
    [2, 0],
  ].map((shape) =>
    programCase(`an input with an element for each row of [${shape}]`, async ({ upload, expect }) => {
      const program = ops.elementwiseProgram({ inputs: ['x', 'shift'], numbers: ['factor'] }, (given) => ({
        y: mul(sub(given.x, given.shift), given.factor),
      }));
      const random = new Random('rows');
      const [x, shift] = [random.uniform(shape), random.uniform([...shape.slice(0, -1), 1])];
      const numbers = new ops.ProgramNumbers(upload(list(0.5)));
      const width = shape.at(-1) as number;
      const { y } = ops.mapElements(program, { x: upload(x), shift: upload(shift) }, numbers);
      const moved = (at: number): number =>
        0.5 * ((x.data[at] as number) - (shift.data[Math.floor(at / width)] as number));
      await expect(
        'y',
        y,
        nd(shape, (_, at) => moved(at)),
      );
      numbers.dispose();
    }),
  ),
  programCase('a choice, also from what is not a number', async ({ upload, expect }) => {
    const program = ops.elementwiseProgram({ inputs: ['x', 'y'], numbers: ['taken'] }, ({ x, y, taken }) => ({
      byNumber: choose(taken, x, y),
      byElement: choose(x, 1, y),
    }));
    const x = upload(list(1, Number.NaN, Number.POSITIVE_INFINITY, 0, -2));
    const y = upload(list(5, 6, 7, 8, 9));
    for (const [taken, byNumber] of [
      [0, list(5, 6, 7, 8, 9)],
      [1, list(1, Number.NaN, Number.POSITIVE_INFINITY, 0, -2)],
    ] as const) {
      const numbers = new ops.ProgramNumbers(upload(list(taken)));
      const made = ops.mapElements(program, { x, y }, numbers);
      await expect(`by the number ${taken}`, made.byNumber, byNumber);
      await expect('by the element', made.byElement, list(1, 6, 1, 8, 9));
      numbers.dispose();
    }
  }),
  {
    ...programCase('halves go in, and come out', async ({ backend, expect }) => {
      for (const size of [1, 2, 255, 1030]) {
        const random = new Random(`halves ${size}`);
        const [a, b] = [random.uniform([size]), random.uniform([size])];
        const stored = decode(encode(a.data, 'f16'), 'f16');
        const tensors = {
          x: ops.tensor(backend, encode(a.data, 'f16'), [size], 'f16'),
          y: ops.tensor(backend, encode(b.data, 'f32'), [size]),
        };
        const program = ops.elementwiseProgram({ inputs: ['x', 'y'] }, ({ x, y }) => ({
          sum: add(x, y),
          product: mul(x, y),
        }));
        const sums = nd([size], (_, at) => (stored[at] as number) + Math.fround(b.data[at] as number));
        const wide = ops.mapElements(program, tensors);
        await expect(`${size}: in f32`, wide.sum, sums);
        wide.product.dispose();
        const ofRows = ops.scope(() => {
          const [x, y] = [ops.reshape(tensors.y, [size, 1]), ops.reshape(tensors.x, [size, 1])];
          return ops.mapElements(program, { x: ops.concat([x, x, x], 1), y }).sum;
        });
        const thrice = nd([size, 3], (_, at) => sums.data[Math.floor(at / 3)] as number);
        await expect(`${size}: rows of halves`, ofRows, thrice);
        const made = ops.mapElements(program, tensors, undefined, { dtype: 'f16' });
        check(made.sum.dtype === 'f16', `an output of ${made.sum.dtype}`);
        const got = ops.scope(() => ops.cast(made.sum, 'f32'));
        const near = decode(await made.sum.data(), 'f16');
        check(
          near.every((one, at) => Math.abs(one - (sums.data[at] as number)) <= 2 ** -11 * 2 + 2 ** -22),
          `${size}: sums are not rounded to the nearest f16`,
        );
        for (const one of [...Object.values(tensors), made.sum, made.product, got]) one.dispose();
      }
    }),
    notFor: needsHalves,
  },
  programCase('constants of every size', async ({ backend, upload, expect }) => {
    const stored = backend.capabilities.floatStorage === 'f64' ? (value: number) => value : Math.fround;
    const x = list(1, -2, 0);
    const tensor = upload(x);
    for (const constant of constants) {
      const program = ops.elementwiseProgram({ inputs: ['x'] }, (given) => ({ y: mul(given.x, constant) }));
      // Beyond f32 where 2 * 3.4e38 is.
      const data = x.data.map((value) => stored(value * stored(constant)));
      await expect(`${constant} x`, ops.mapElements(program, { x: tensor }).y, { ...x, data });
    }
  }),
  programCase('outputs that are inputs, or equal, are tensors of their own', async ({ upload, expect }) => {
    const program = ops.elementwiseProgram({ inputs: ['x'] }, ({ x }) => {
      const opposite = neg(x);
      return { same: x, one: opposite, other: opposite };
    });
    const x = upload(list(1, -2, 3));
    const { same, one, other } = ops.mapElements(program, { x });
    x.dispose();
    one.dispose();
    await expect('the input', same, list(1, -2, 3));
    await expect('the other output', other, list(-1, 2, -3));
  }),
  programCase('inputs that are one tensor, or views', async ({ upload, expect }) => {
    const program = binaryProgram('sub');
    const x = upload(nd([4, 3], (_, at) => at));
    await expect(
      'itself',
      ops.mapElements(program, { a: x, b: x }).y,
      nd([4, 3], () => 0),
    );
    const [a, b] = [
      ops.slice(x, [1, 0], [3, 3]),
      ops.scope(() => ops.transpose(ops.slice(x, [0, 0], [3, 3]), [1, 0])),
    ];
    const expected = nd([3, 3], ([i = 0, j = 0]) => 3 * (i + 1) + j - (3 * j + i));
    await expect('views', ops.mapElements(program, { a, b }).y, expected);
    a.dispose();
    b.dispose();
  }),
  ...(
    [
      ['x', 'x_0', 'x_1'],
      ['x_1', 'x_0', 'x'],
    ] as const
  ).map((names) =>
    programCase(`inputs named ${names.join(', ')}`, async ({ upload, expect }) => {
      const program = ops.elementwiseProgram({ inputs: names }, ({ x, x_0, x_1 }) => ({
        y: sub(mul(x, x_0), x_1),
      }));
      const inputs = { x: upload(list(2, 3)), x_0: upload(list(10, 20)), x_1: upload(list(1, 5)) };
      await expect('alone', ops.mapElements(program, inputs).y, list(19, 55));
      for (const { y } of ops.mapElementsOfAll(program, [inputs, inputs])) {
        await expect('of several', y, list(19, 55));
      }
      // Tensors that replace inputs are bound together where a call finds them together.
      const replacing = ops.elementwiseProgram({ inputs: ['y', ...names] }, ({ y, x, x_0, x_1 }) => ({
        y: add(sub(mul(x, x_0), x_1), y),
      }));
      let replaced = [upload(list(0, 0)), upload(list(0.5, 0.5))];
      for (let step = 0; step < 2; step++) {
        const made = ops.mapElementsOfAll(
          replacing,
          replaced.map((y) => ({ ...inputs, y })),
        );
        if (step > 0) for (const one of replaced) one.dispose();
        replaced = made.map(({ y }) => y);
      }
      await expect('replaced once and again', replaced[0] as ops.Tensor, list(38, 110));
      await expect('and another', replaced[1] as ops.Tensor, list(38.5, 110.5));
    }),
  ),
  programCase('programs that differ in what they do not read', async ({ upload, expect }) => {
    const [x, y] = [upload(list(1, 2)), upload(list(3, 4))];
    const negative = (inputs: readonly ('x' | 'y')[], numbers: readonly 'a'[] = []) =>
      ops.elementwiseProgram({ inputs, numbers }, (given) => ({ z: neg(given.x) }));
    await expect('x and y', ops.mapElements(negative(['x', 'y']), { x, y }).z, list(-1, -2));
    await expect('x', ops.mapElements(negative(['x']), { x }).z, list(-1, -2));
    const numbers = new ops.ProgramNumbers(upload(list(5)));
    await expect('x and a', ops.mapElements(negative(['x'], ['a']), { x }, numbers).z, list(-1, -2));
    numbers.dispose();
  }),
];
