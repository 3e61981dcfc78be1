import {
  grad,
  type LinearAttentionState,
  linearAttention,
  narrow,
  scope,
  sum,
  type Tensor,
  tensor,
  zeros,
} from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { type ConformanceCase, needsHalves } from '../../../harness/case.js';
import {
  check,
  checkClose,
  checkEqual,
  checkSameBits,
  checkThrows,
  gradientTolerance,
  type Tolerance,
} from '../../../harness/support/assert.js';
import { list, type Nd, nd } from '../../../harness/support/nd.js';
import { Random } from '../../../harness/support/random.js';
import { encode } from '../../../harness/support/workbench.js';
import {
  type LinearAnswer,
  type LinearProblem,
  linearRoles,
  outputShape,
  run,
  sees,
  solve,
} from './problem.js';

const NAN = Number.NaN;
const INF = Number.POSITIVE_INFINITY;

/** Shapes are few, so that engines compile little: 2 sequences, 4 heads that share 2 of keys. */
const [BATCH, HEADS, KEY_HEADS, LENGTH, FEATURES, VALUE_DIM] = [2, 4, 2, 7, 5, 3] as const;

function rule(
  name: string,
  body: ConformanceCase['run'],
  notFor?: ConformanceCase['notFor'],
): ConformanceCase {
  return { name: `linear attention: ${name}`, group: 'attention', run: body, ...(notFor && { notFor }) };
}

/** Features from 1/8 to 1: nowhere negative, and no divisor is near 0. */
const positive = (random: Random, shape: readonly number[]): Nd => nd(shape, () => random.integer(1, 8) / 8);

interface Lengths {
  readonly queries?: number;
  readonly keys?: number;
}

function drawLinear(
  seed: string,
  { queries = LENGTH, keys = LENGTH }: Lengths = {},
  rest: (random: Random) => Partial<LinearProblem> = () => ({}),
): LinearProblem {
  const random = new Random(`linear ${seed}`);
  return {
    queryFeatures: positive(random, [BATCH, HEADS, queries, FEATURES]),
    keyFeatures: positive(random, [BATCH, KEY_HEADS, keys, FEATURES]),
    value: random.uniform([BATCH, KEY_HEADS, keys, VALUE_DIM]),
    ...rest(random),
  };
}

const cotangentOf = (problem: LinearProblem): Nd => new Random('cotangent').uniform(outputShape(problem));

/** Log scales over a range that exp does not cover in f32. */
const wideScales = (random: Random, keys: number = LENGTH): Nd =>
  nd([BATCH, KEY_HEADS, keys], () => random.integer(-150, 150));
const state = (random: Random): Partial<LinearProblem> => ({
  sums: random.uniform([BATCH, KEY_HEADS, FEATURES, VALUE_DIM]),
  total: positive(random, [BATCH, KEY_HEADS, FEATURES]),
});
const causal = { causal: true };

const linearProblems: Readonly<Record<string, LinearProblem>> = {
  plain: drawLinear('plain'),
  'other lengths, in chunks': drawLinear('lengths', { queries: 4, keys: 6 }, () => ({
    options: { chunk: 3 },
  })),
  'not normalised, features of both signs': drawLinear('signs', {}, (r) => ({
    queryFeatures: r.uniform([BATCH, HEADS, LENGTH, FEATURES]),
    keyFeatures: r.uniform([BATCH, KEY_HEADS, LENGTH, FEATURES]),
    options: { normalise: false },
  })),
  'an epsilon': drawLinear('epsilon', {}, () => ({ options: { epsilon: 0.5 } })),
  'a least divisor that some rows reach': drawLinear('least', {}, (r) => ({
    queryFeatures: r.uniform([BATCH, HEADS, LENGTH, FEATURES]),
    options: { leastDenominator: 0.75 },
  })),
  'key lengths': drawLinear('key lengths', {}, () => ({ keyLengths: list(5, 0) })),
  'a mask of each sequence': drawLinear('masks', {}, (r) => ({ keyMask: r.booleans([BATCH, LENGTH]) })),
  'log scales': drawLinear('scales', {}, (r) => ({ keyLogScale: wideScales(r) })),
  'a state': drawLinear('state', {}, state),
  causal: drawLinear('causal', {}, () => ({ options: causal })),
  'causal, chunks that do not divide the length': drawLinear('chunks', {}, () => ({
    options: { ...causal, chunk: 3 },
  })),
  'causal, one token at a time': drawLinear('tokens', {}, () => ({ options: { ...causal, chunk: 1 } })),
  'causal, fewer queries than keys': drawLinear('fewer', { queries: 3 }, () => ({
    options: { ...causal, chunk: 2 },
  })),
  'causal, more queries than keys': drawLinear('more', { keys: 4 }, () => ({
    options: { ...causal, chunk: 2 },
  })),
  'causal, not normalised, a mask': drawLinear('causal signs', {}, (r) => ({
    queryFeatures: r.uniform([BATCH, HEADS, LENGTH, FEATURES]),
    keyMask: r.booleans([1, LENGTH]),
    options: { ...causal, normalise: false, chunk: 4 },
  })),
  'causal, lengths, an epsilon, a state': drawLinear('causal state', {}, (r) => ({
    ...state(r),
    keyLengths: list(4, 6),
    options: { ...causal, epsilon: 0.25, chunk: 3 },
  })),
  'causal, more queries than keys, a state': drawLinear('more, a state', { keys: 4 }, (r) => ({
    ...state(r),
    options: { ...causal, chunk: 2 },
  })),
  'causal, log scales': drawLinear('causal scales', {}, (r) => ({
    keyLogScale: wideScales(r),
    options: { ...causal, chunk: 3 },
  })),
  'causal, log scales of which some hide, lengths': drawLinear('hiding scales', { queries: 5 }, (r) => ({
    keyLogScale: nd([BATCH, KEY_HEADS, LENGTH], ([, , key]) =>
      key === 0 || r.next() < 0.3 ? -INF : r.integer(-2, 2),
    ),
    keyLengths: list(7, 5),
    options: { ...causal, chunk: 2 },
  })),
};

const oracle = createReferenceBackend({ floatStorage: 'f64' });

/** NaN and both infinities count as one: which of them a sum of infinities gives depends on its order. */
const loud = (values: readonly number[]): number[] => values.map((one) => (Number.isFinite(one) ? one : NAN));

function checkGradients(got: LinearAnswer, expected: LinearAnswer, tolerance: Tolerance): void {
  for (const role of linearRoles) {
    const wanted = expected.gradients[role];
    if (wanted === undefined) continue;
    checkClose(
      `gradient of ${role}`,
      loud(got.gradients[role] ?? []),
      loud(wanted),
      gradientTolerance(tolerance),
    );
  }
}

/** Features with a NaN or an infinity at one key, or values. */
const spoilt = (x: Nd, keys: readonly number[], bad: number): Nd =>
  nd(x.shape, ([, , key = 0], i) => (keys.includes(key) ? bad : (x.data[i] as number)));

/** Rows [b, h, i] as numbers: 1 where one of their elements is not finite. */
const badRows = (x: readonly number[], width: number): number[] =>
  Array.from({ length: x.length / width }, (_, row) =>
    x.slice(row * width, (row + 1) * width).every(Number.isFinite) ? 0 : 1,
  );

export const linearAttentionCases: readonly ConformanceCase[] = [
  ...Object.entries(linearProblems).map(([name, problem]) =>
    rule(`as by the matrix of all weights: ${name}`, async ({ backend, tolerance }) => {
      const cotangent = cotangentOf(problem);
      const expected = solve(problem);
      checkClose('output', (await run(backend, problem)).output, expected, tolerance);
      const trained = await run(backend, problem, cotangent);
      checkClose('output while training', trained.output, expected, tolerance);
      // The oracle's gradients are compared with finite differences in the group of gradients.
      checkGradients(trained, await run(oracle, problem, cotangent), tolerance);
    }),
  ),
  rule(
    'f16, forward and gradients',
    async ({ backend, tolerances }) => {
      for (const name of ['plain', 'causal, lengths, an epsilon, a state']) {
        const problem = linearProblems[name] as LinearProblem;
        const cotangent = cotangentOf(problem);
        const got = await run(backend, problem, cotangent, 'f16');
        checkClose('output', got.output, solve(problem), tolerances.f16);
        checkGradients(got, await run(oracle, problem, cotangent), tolerances.f16);
      }
    },
    needsHalves,
  ),
  rule('a state stands for the keys before it, token by token too', async ({ backend, tolerance }) => {
    for (const name of ['causal', 'causal, log scales']) {
      const problem = linearProblems[name] as LinearProblem;
      const expected = solve(problem);
      const up = (x: Nd): Tensor => tensor(backend, encode(x.data, 'f32'), x.shape);
      const whole = [problem.queryFeatures, problem.keyFeatures, problem.value].map(up) as [
        Tensor,
        Tensor,
        Tensor,
      ];
      const scales = problem.keyLogScale && up(problem.keyLogScale);
      let before: LinearAttentionState | undefined;
      for (const [start, length] of [
        [0, 3],
        [3, 1],
        [4, 1],
        [5, 2],
      ] as const) {
        const made = scope(() => {
          const [q, k, v] = whole.map((one) => narrow(one, 2, start, length)) as [Tensor, Tensor, Tensor];
          return linearAttention(q, k, v, {
            ...{ causal: true, chunk: 2, returnState: true },
            ...(scales && { keyLogScale: narrow(scales, 2, start, length) }),
            ...(before && { state: before }),
          });
        });
        const got = await made.output.data();
        const wanted = nd([BATCH, HEADS, length, VALUE_DIM], ([b = 0, h = 0, i = 0, d = 0]) => {
          return expected[((b * HEADS + h) * LENGTH + start + i) * VALUE_DIM + d] as number;
        });
        checkClose(`${name}: tokens from ${start}`, got, wanted.data, tolerance);
        for (const one of [made.output, ...Object.values<Tensor>({ ...before })]) one.dispose();
        before = made.state;
      }
      for (const one of [...whole, ...Object.values<Tensor>({ ...before })]) one.dispose();
      scales?.dispose();
    }
  }),
  rule('hidden keys may hold NaN and infinities, and so may later ones', async ({ backend, tolerance }) => {
    const base = linearProblems['causal, lengths, an epsilon, a state'] as LinearProblem;
    const ways: readonly LinearProblem[] = [
      { ...base, keyLengths: list(5, 5), options: {} },
      { ...base, keyLengths: list(5, 5), options: { causal: true, chunk: 3 } },
      drawLinear('hidden', {}, () => ({
        keyMask: nd([1, LENGTH], ([, key = 0]) => (key > 4 ? 0 : 1)),
        options: { causal: true },
      })),
      drawLinear('hidden by scales', {}, () => ({
        keyLogScale: nd([BATCH, KEY_HEADS, LENGTH], ([, , key = 0]) => (key > 4 ? -INF : 1)),
      })),
    ];
    for (const problem of ways) {
      const cotangent = cotangentOf(problem);
      const expected = await run(oracle, problem, cotangent);
      for (const bad of [NAN, INF]) {
        const keyFeatures = spoilt(problem.keyFeatures, [5, 6], bad);
        const got = await run(
          backend,
          { ...problem, keyFeatures, value: spoilt(problem.value, [5, 6], bad) },
          cotangent,
        );
        checkClose(`output beside ${bad}`, got.output, expected.output, tolerance);
        checkGradients(got, expected, tolerance);
      }
    }
  }),
  rule('a NaN or an infinity reaches the queries that see its key, and no other', async ({ backend }) => {
    for (const options of [{}, { causal: true }, { causal: true, chunk: 2 }, { causal: true, chunk: 1 }]) {
      for (const role of ['keyFeatures', 'value'] as const) {
        for (const bad of [NAN, INF]) {
          const clean = drawLinear('seen', {}, () => ({ options }));
          const problem = { ...clean, [role]: spoilt(clean[role], [3], bad) };
          const { output, gradients } = await run(backend, problem, cotangentOf(problem));
          const rows = nd([BATCH, HEADS, LENGTH], ([b = 0, h = 0, i = 0]) =>
            sees(problem, [b, Math.floor((h * KEY_HEADS) / HEADS), i, 3]) ? 1 : 0,
          );
          const what = `${JSON.stringify(options)}, ${bad} in ${role}`;
          checkEqual(`${what}: rows`, badRows(output, VALUE_DIM), rows.data);
          const ofQueries = badRows(gradients.queryFeatures ?? [], FEATURES);
          checkEqual(`${what}: rows of the gradient`, ofQueries, rows.data);
        }
      }
    }
  }),
  rule(
    'a bad query, or a bad gradient of its row, reaches the keys that it sees, and no other',
    async ({ backend }) => {
      for (const options of [
        {},
        { causal: true },
        { causal: true, chunk: 2 },
        { causal: true, normalise: false },
      ]) {
        for (const role of ['queryFeatures', 'cotangent'] as const) {
          const clean = drawLinear('bad query', {}, () => ({ options }));
          const cotangent = cotangentOf(clean);
          const problem = role === 'cotangent' ? clean : { ...clean, [role]: spoilt(clean[role], [3], NAN) };
          const upstream = role === 'cotangent' ? spoilt(cotangent, [3], NAN) : cotangent;
          const { gradients } = await run(backend, problem, upstream);
          const seen = nd([BATCH, KEY_HEADS, LENGTH], ([b = 0, g = 0, key = 0]) =>
            sees(problem, [b, g, 3, key]) ? 1 : 0,
          );
          const what = `${JSON.stringify(options)}, NaN in ${role}`;
          checkEqual(`${what}: keys`, badRows(gradients.keyFeatures ?? [], FEATURES), seen.data);
          checkEqual(`${what}: values`, badRows(gradients.value ?? [], VALUE_DIM), seen.data);
        }
      }
    },
  ),
  rule(
    'sums beyond the range of f32 are loud',
    async ({ backend }) => {
      const huge = (x: Nd): Nd => nd(x.shape, () => 1e38);
      for (const options of [{}, { causal: true, chunk: 2 }]) {
        const problem = drawLinear('overflow', {}, () => ({ options }));
        const { output, gradients } = await run(
          backend,
          { ...problem, keyFeatures: huge(problem.keyFeatures), queryFeatures: huge(problem.queryFeatures) },
          cotangentOf(problem),
        );
        checkEqual('finite numbers in the output', output.filter(Number.isFinite), []);
        checkEqual(
          'finite gradients of queries',
          (gradients.queryFeatures ?? []).filter(Number.isFinite),
          [],
        );
      }
    },
    ({ floatStorage }) =>
      floatStorage === 'f32' ? undefined : 'stores 64 bits, in which these do not overflow',
  ),
  rule('rows without a key, or with a divisor of 0, are zeros with zero gradients', async ({ backend }) => {
    const noKeys = drawLinear('no keys', { keys: 3 }, () => ({ keyLengths: list(0, 3), options: causal }));
    const noWeights = drawLinear('no weights', {}, () => ({
      keyFeatures: nd([BATCH, KEY_HEADS, LENGTH, FEATURES], () => 0),
    }));
    for (const [problem, isEmpty] of [
      [noKeys, (b: number, i: number) => b === 0 || i < LENGTH - 3],
      [noWeights, () => true],
    ] as const) {
      const { output, gradients } = await run(backend, problem, cotangentOf(problem));
      const rows = nd([BATCH, HEADS, LENGTH], ([b = 0, , i = 0]) => (isEmpty(b, i) ? 1 : 0));
      const ofEmpty = (x: readonly number[], width: number): number[] =>
        x.filter((_, place) => rows.data[Math.floor(place / width)] === 1);
      for (const [what, x, width] of [
        ['output', output, VALUE_DIM],
        ['gradient of the queries', gradients.queryFeatures ?? [], FEATURES],
      ] as const) {
        const own = ofEmpty(x, width);
        checkEqual(
          what,
          own,
          own.map(() => 0),
        );
      }
    }
  }),
  rule('causally, later keys change not a bit before them', async ({ backend }) => {
    const problem = linearProblems['causal, log scales'] as LinearProblem;
    const changed = {
      ...problem,
      value: spoilt(problem.value, [5, 6], 1e30),
      keyLogScale: spoilt(problem.keyLogScale as Nd, [5, 6], 1000),
    };
    const rows = async (one: LinearProblem): Promise<Float64Array> => {
      const { output } = await run(backend, one);
      return Float64Array.from(output.filter((_, at) => Math.floor(at / VALUE_DIM) % LENGTH < 5));
    };
    checkSameBits('earlier rows', await rows(changed), await rows(problem));
  }),
  rule('the same call twice gives the same bits', async ({ backend }) => {
    const problem = linearProblems['causal, log scales'] as LinearProblem;
    const cotangent = cotangentOf(problem);
    const [a, b] = [await run(backend, problem, cotangent), await run(backend, problem, cotangent)];
    checkSameBits('output', Float64Array.from(a.output), Float64Array.from(b.output));
    for (const role of linearRoles) {
      const [first = [], second = []] = [a.gradients[role], b.gradients[role]];
      checkSameBits(`gradient of ${role}`, Float64Array.from(first), Float64Array.from(second));
    }
  }),
  rule('a gradient that reaches the returned state is an error', ({ backend }) => {
    const x = zeros(backend, [1, 1, 2, 2]);
    const loss = (one: Tensor): Tensor =>
      sum(linearAttention(one, one, one, { returnState: true }).state.sums);
    scope(() => checkThrows('state', () => grad(loss)(x), 'NOT_DIFFERENTIABLE'));
    x.dispose();
  }),
  rule('an empty batch gives an empty output', ({ backend }) => {
    scope(() => {
      const x = zeros(backend, [0, 2, 3, 4]);
      const { output, state: made } = linearAttention(x, x, x, { causal: true, returnState: true });
      check(output.shape.join() === '0,2,3,4', `shape [${output.shape}]`);
      check(made.sums.shape.join() === '0,2,4,4', `shape [${made.sums.shape}] of the state`);
    });
  }),
];
