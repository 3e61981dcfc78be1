import {
  graphAttention,
  pullback,
  scope,
  type Tensor,
  tensor,
  topKAttention,
  zeros,
} from '@topk-attention/core';
import { type ConformanceCase, type ConformanceContext, needsHalves } from '../../../harness/case.js';
import {
  check,
  checkClose,
  checkEqual,
  checkSameBits,
  gradientTolerance,
  type Tolerance,
} from '../../../harness/support/assert.js';
import { list, matrix, type Nd, nd } from '../../../harness/support/nd.js';
import { Random } from '../../../harness/support/random.js';
import { encode } from '../../../harness/support/workbench.js';
import { type GraphProblem, graphRoles, outputShape, run, solve } from './problem.js';

const NAN = Number.NaN;

/** Shapes are few, so that engines compile little: 2 sequences, 4 heads that share 2 of keys. */
const [BATCH, HEADS, KEY_HEADS, QUERIES, KEYS, WIDTH, VALUE_DIM, ENTRIES] = [2, 4, 2, 5, 7, 4, 3, 6] as const;

function rule(
  name: string,
  body: ConformanceCase['run'],
  notFor?: ConformanceCase['notFor'],
): ConformanceCase {
  return { name: `graph attention: ${name}`, group: 'attention', run: body, ...(notFor && { notFor }) };
}

/** Rows of keys in any order, of which some are no entry and some are named twice. */
function graphOf(random: Random, shape: readonly number[], keys: number = KEYS): Nd {
  return nd(shape, () => random.integer(-1, keys - 1));
}

const full = [BATCH, HEADS, QUERIES, ENTRIES];

function draw(seed: string, rest: (random: Random) => Partial<GraphProblem> = () => ({})): GraphProblem {
  const random = new Random(`graph ${seed}`);
  return {
    q: random.uniform([BATCH, HEADS, QUERIES, WIDTH]),
    k: random.uniform([BATCH, KEY_HEADS, KEYS, WIDTH]),
    v: random.uniform([BATCH, KEY_HEADS, KEYS, VALUE_DIM]),
    graph: graphOf(random, full),
    ...rest(random),
  };
}

const cotangentOf = (problem: GraphProblem): Nd => new Random('cotangent').uniform(outputShape(problem));

/** Output and gradients as of dense attention under the edges. */
async function checkAgainstDense(
  { backend, tolerance }: Pick<ConformanceContext, 'backend' | 'tolerance'>,
  problem: GraphProblem,
  storage: 'f32' | 'f16' = 'f32',
  allowed: Tolerance = tolerance,
): Promise<void> {
  const cotangent = cotangentOf(problem);
  const expected = solve(problem, cotangent, backend.capabilities.floatStorage);
  checkClose('output', (await run(backend, problem, undefined, storage)).output, expected.output, allowed);
  const trained = await run(backend, problem, cotangent, storage);
  checkClose('output while training', trained.output, expected.output, allowed);
  for (const role of graphRoles) {
    const wanted = expected.gradients[role];
    if (wanted === undefined) continue;
    checkClose(`gradient of ${role}`, trained.gradients[role] ?? [], wanted, gradientTolerance(allowed));
  }
}

const eighths = (random: Random, shape: readonly number[]): Nd =>
  nd(shape, () => random.integer(-16, 16) / 8);

const problems: Readonly<Record<string, GraphProblem>> = {
  'a graph of each head': draw('each'),
  'a graph that heads share': draw('heads', (r) => ({ graph: graphOf(r, [BATCH, 1, QUERIES, ENTRIES]) })),
  'a graph that all share': draw('all', (r) => ({ graph: graphOf(r, [1, 1, QUERIES, ENTRIES]) })),
  'a graph that queries share': draw('queries', (r) => ({ graph: graphOf(r, [1, HEADS, 1, ENTRIES]) })),
  'one entry per query': draw('one', (r) => ({ graph: graphOf(r, [1, 1, QUERIES, 1]) })),
  'more entries than keys': draw('many', (r) => ({ graph: graphOf(r, [1, 1, QUERIES, 2 * KEYS]) })),
  'a scale, in chunks of two': draw('chunks', () => ({ options: { scale: -0.7, queryChunk: 2 } })),
  'a bias of every entry': draw('bias', (r) => ({ bias: eighths(r, full) })),
  'a bias that heads and queries share': draw('bias of entries', (r) => ({
    bias: eighths(r, [BATCH, 1, 1, ENTRIES]),
    options: { queryChunk: 3 },
  })),
  'a bias of -inf': draw('no edge', (r) => ({
    bias: nd(full, () => (r.next() < 0.4 ? Number.NEGATIVE_INFINITY : r.integer(-4, 4) / 4)),
  })),
  causal: draw('causal', () => ({ options: { causal: true } })),
  'causal, queries placed, in chunks': draw('placed', () => ({
    options: { causal: true, queryStart: 1, queryChunk: 2 },
  })),
  'key lengths': draw('lengths', () => ({ keyLengths: list(3, 0) })),
  'a mask of each sequence': draw('masks', (r) => ({ keyMask: r.booleans([BATCH, KEYS]) })),
  'one mask, a shared graph': draw('mask', (r) => ({
    keyMask: r.booleans([1, KEYS]),
    graph: graphOf(r, [1, 1, QUERIES, ENTRIES]),
  })),
  'everything at once': draw('everything', (r) => ({
    graph: graphOf(r, [1, HEADS, QUERIES, ENTRIES]),
    bias: eighths(r, [1, HEADS, QUERIES, ENTRIES]),
    keyMask: r.booleans([BATCH, KEYS], 0.7),
    keyLengths: list(7, 5),
    options: { causal: true, scale: 0.5, queryChunk: 4 },
  })),
};

/** One head of width 1 whose keys score 0. */
const flat = (graph: Nd, v: readonly number[], rest: Partial<GraphProblem> = {}): GraphProblem => ({
  q: nd([1, 1, graph.shape[0] as number, 1], () => 0),
  k: nd([1, 1, v.length, 1], () => 0),
  v: { shape: [1, 1, v.length, 1], data: v },
  graph: { shape: [1, 1, ...graph.shape], data: graph.data },
  ...rest,
});

export const graphAttentionCases: readonly ConformanceCase[] = [
  ...Object.entries(problems).map(([name, problem]) =>
    rule(`as dense attention under its edges: ${name}`, (context) => checkAgainstDense(context, problem)),
  ),
  rule(
    'f16, forward and gradients',
    (context) => {
      const problem = draw('halves', (r) => ({ bias: eighths(r, [1, HEADS, QUERIES, ENTRIES]) }));
      return checkAgainstDense(context, problem, 'f16', context.tolerances.f16);
    },
    needsHalves,
  ),
  rule(
    'a key that is named twice counts once, with the bias of its first entry',
    async ({ backend, tolerance }) => {
      const graph = matrix([0, 1, 0, 0], [2, 2, -1, 2], [1, 0, 1, 0]);
      const problem = flat(graph, [1, 2, 4], { bias: { shape: [1, 1, 1, 4], data: [0, 0, 5, 5] } });
      const { output, gradients } = await run(
        backend,
        problem,
        nd([1, 1, 3, 1], () => 1),
      );
      checkClose('output', output, [1.5, 4, 1.5], tolerance);
      checkEqual('gradient of the bias of repeats', (gradients.bias ?? []).slice(2), [0, 0]);
    },
  ),
  rule('rows without an entry that counts are zeros, with zero gradients', async ({ backend }) => {
    const graph = matrix([-1, -1], [2, -1], [0, 1]);
    const problem = flat(graph, [1, 2, NAN], {
      keyLengths: list(1),
      options: { causal: true, queryStart: 0 },
    });
    // The last query sees key 0 only, key 2 is hidden, and the first row is empty.
    const cotangent = nd([1, 1, 3, 1], () => 1);
    const { output, gradients } = await run(backend, problem, cotangent);
    checkEqual('output', output, [0, 0, 1]);
    checkEqual('gradient of v', gradients.v ?? [], [1, 0, 0]);
    checkEqual('gradient of q', gradients.q ?? [], [0, 0, 0]);
  }),
  rule('a graph without entries gives zeros, with zero gradients', async ({ backend }) => {
    const problem = draw('none', () => ({ graph: nd([1, 1, QUERIES, 0], () => 0) }));
    const { output, gradients } = await run(backend, problem, cotangentOf(problem));
    checkEqual(
      'output',
      output,
      output.map(() => 0),
    );
    for (const role of ['q', 'k', 'v'] as const) {
      checkEqual(
        `gradient of ${role}`,
        gradients[role] ?? [],
        problem[role].data.map(() => 0),
      );
    }
  }),
  rule('keys that no row takes in may hold NaN and infinities', async (context) => {
    const { backend, tolerance } = context;
    const clean = draw('hidden', (r) => ({
      // Key 0 is named by nobody, key 5 is masked, key 6 is beyond the length.
      graph: nd(full, () => r.integer(1, KEYS - 1)),
      keyMask: nd([1, KEYS], ([, key]) => (key === 5 ? 0 : 1)),
      keyLengths: list(6, 6),
    }));
    const cotangent = cotangentOf(clean);
    const expected = solve(clean, cotangent, backend.capabilities.floatStorage);
    for (const bad of [NAN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const spoil = (x: Nd): Nd =>
        nd(x.shape, ([, , key = 0], i) => ([0, 5, 6].includes(key) ? bad : (x.data[i] as number)));
      const got = await run(backend, { ...clean, k: spoil(clean.k), v: spoil(clean.v) }, cotangent);
      checkClose(`output beside ${bad}`, got.output, expected.output, tolerance);
      for (const role of ['q', 'k', 'v'] as const) {
        const wanted = expected.gradients[role] ?? [];
        checkClose(
          `gradient of ${role} beside ${bad}`,
          got.gradients[role] ?? [],
          wanted,
          gradientTolerance(tolerance),
        );
      }
    }
  }),
  rule('a NaN in a score makes its row NaN and no other, in both directions', async ({ backend }) => {
    const graph = matrix([0, 1], [1, 2], [2, 0]);
    const problem = {
      ...flat(graph, [1, 2, 4]),
      q: nd([1, 1, 3, 1], () => 1),
      k: { shape: [1, 1, 3, 1], data: [0, NAN, 0] },
    };
    const { output, gradients } = await run(
      backend,
      problem,
      nd([1, 1, 3, 1], () => 1),
    );
    checkEqual('output', output, [NAN, NAN, 2.5]);
    checkEqual('NaN in the gradient of q', (gradients.q ?? []).map(Number.isNaN).map(Number), [1, 1, 0]);
    checkEqual('NaN in the gradient of v', (gradients.v ?? []).map(Number.isNaN).map(Number), [1, 1, 1]);
  }),
  rule('a number outside of the keys makes its row NaN, whatever the options', async ({ backend }) => {
    const graph = matrix([0, 1], [0, 3], [-2, 0], [2 ** 31 - 1, -1], [-(2 ** 31), 2]);
    const hiding: readonly Partial<GraphProblem>[] = [
      {},
      { keyLengths: list(1) },
      { options: { causal: true } },
      { keyMask: nd([1, 3], ([, key]) => (key === 0 ? 1 : 0)) },
    ];
    for (const rest of hiding) {
      const { output } = await run(backend, flat(graph, [1, 1, 1], rest));
      checkEqual('rows that are NaN', output.map(Number.isNaN).map(Number), [0, 1, 1, 1, 1]);
    }
  }),
  rule(
    'the entries that top-k attention kept give its output and gradients',
    async ({ backend, tolerance }) => {
      const { q, k, v } = draw('kept');
      const up = (x: Nd): Tensor => tensor(backend, encode(x.data, 'f32'), x.shape);
      const inputs = { q: up(q), k: up(k), v: up(v) };
      const { output, indices } = topKAttention(inputs.q, inputs.k, inputs.v, { k: 3, returnIndices: true });
      const one = pullback((p: typeof inputs) => topKAttention(p.q, p.k, p.v, { k: 3 }), inputs);
      const other = pullback((p: typeof inputs) => graphAttention(p.q, p.k, p.v, indices), inputs);
      checkClose('output', await other.output.data(), await output.data(), tolerance);
      const cotangent = up(cotangentOf({ q, k, v, graph: q }));
      const [a, b] = [one.backward(cotangent), other.backward(cotangent)];
      for (const role of ['q', 'k', 'v'] as const) {
        checkClose(
          `gradient of ${role}`,
          await b[role].data(),
          await a[role].data(),
          gradientTolerance(tolerance),
        );
      }
      const made = [output, indices, one.output, other.output, cotangent];
      for (const each of [...Object.values(inputs), ...Object.values(a), ...Object.values(b), ...made])
        each.dispose();
      one.dispose();
      other.dispose();
    },
  ),
  rule('the same call twice gives the same bits', async ({ backend }) => {
    const problem = problems['everything at once'] as GraphProblem;
    const cotangent = cotangentOf(problem);
    const [a, b] = [await run(backend, problem, cotangent), await run(backend, problem, cotangent)];
    checkSameBits('output', Float64Array.from(a.output), Float64Array.from(b.output));
    if (backend.capabilities.deterministicScatter !== true) return;
    for (const role of graphRoles) {
      const [first = [], second = []] = [a.gradients[role], b.gradients[role]];
      checkSameBits(`gradient of ${role}`, Float64Array.from(first), Float64Array.from(second));
    }
  }),
  rule('an empty batch gives an empty output', ({ backend }) => {
    scope(() => {
      const x = zeros(backend, [0, 2, 3, 4]);
      const { shape } = graphAttention(x, x, x, zeros(backend, [1, 1, 3, 2], 'i32'));
      check(shape.join() === '0,2,3,4', `shape [${shape}]`);
    });
  }),
];
