import { exactAttention, pullback, type Tensor, tensor, topKAttention } from '@topk-attention/core';
import type { ConformanceCase } from '../../harness/case.js';
import {
  check,
  checkClose,
  checkEqual,
  checkSameBits,
  gradientTolerance,
  type Tolerance,
} from '../../harness/support/assert.js';
import { list, type Nd, nd } from '../../harness/support/nd.js';
import { Random } from '../../harness/support/random.js';
import { encode } from '../../harness/support/workbench.js';
import { solve } from './brute-force.js';
import { checkAgainstOracle, cotangentOf } from './check.js';
import { exactScores, roundedScores } from './draw.js';
import { type AttentionAnswer, type AttentionProblem, gradientRoles, run } from './problem.js';
import { checkSetRule } from './set-rule.js';

const NAN = Number.NaN;
const INF = Number.POSITIVE_INFINITY;

function rule(name: string, body: ConformanceCase['run'], anchors?: readonly number[]): ConformanceCase {
  return { name: `attention: ${name}`, group: 'attention', run: body, ...(anchors && { anchors }) };
}

function replaced(x: Nd, isBad: (coordinates: readonly number[]) => boolean, bad: number): Nd {
  return nd(x.shape, (coordinates, i) => (isBad(coordinates) ? bad : (x.data[i] as number)));
}

function checkSameAnswer(what: string, a: AttentionAnswer, b: AttentionAnswer): void {
  checkSameBits(`${what}: output`, Float64Array.from(a.output), Float64Array.from(b.output));
  if (a.indices && b.indices) checkEqual(`${what}: kept keys`, a.indices, b.indices);
  for (const role of gradientRoles) {
    const [first, second] = [a.gradients[role], b.gradients[role]];
    if (first === undefined || second === undefined) continue;
    checkSameBits(`${what}: gradient of ${role}`, Float64Array.from(first), Float64Array.from(second));
  }
}

function checkCloseAnswer(what: string, a: AttentionAnswer, b: AttentionAnswer, tolerance: Tolerance): void {
  checkClose(`${what}: output`, a.output, b.output, tolerance);
  if (a.indices && b.indices) checkEqual(`${what}: kept keys`, a.indices, b.indices);
  for (const role of gradientRoles) {
    const [first, second] = [a.gradients[role], b.gradients[role]];
    if (first === undefined || second === undefined) continue;
    checkClose(`${what}: gradient of ${role}`, first, second, gradientTolerance(tolerance));
  }
}

const draw = (seed: string, kept: number | 'all' = 3): AttentionProblem => ({
  ...exactScores(new Random(seed), { batch: 2, queryHeads: 2, queryLength: 7, keyLength: 9 }),
  kept,
});

/** The same problem with -inf biases on all keys except those that brute force keeps, then softmax over all. */
function masked(problem: AttentionProblem): AttentionProblem {
  const { indices = [] } = solve(problem);
  const slots = indices.length / (problem.q.data.length / (problem.q.shape[3] as number));
  const [batch, heads, queries] = problem.q.shape as [number, number, number, number];
  const keys = problem.k.shape[2] as number;
  const bias = nd([batch, heads, queries, keys], ([b = 0, h = 0, i = 0, j = 0]) => {
    const row = (b * heads + h) * queries + i;
    return indices.slice(row * slots, (row + 1) * slots).includes(j) ? 0 : -INF;
  });
  return { ...problem, kept: 'all', bias };
}

export const attentionRules: readonly ConformanceCase[] = [
  rule(
    'anchor 1: chunking changes neither output nor gradients, exact and top-k, with dropout',
    async ({ backend, tolerance }) => {
      for (const kept of ['all', 3] as const) {
        const problem = { ...draw('anchor 1', kept), dropout: { rate: 0.25, seed: 3 }, causal: true };
        const cotangent = cotangentOf(problem);
        const whole = await run(backend, { ...problem, queryChunk: 7 }, cotangent);
        const keys = await run(backend, { ...problem, queryChunk: 7 });
        for (const queryChunk of [1, 2, 3, 5, 100]) {
          const what = `k ${kept}, chunk ${queryChunk}`;
          checkCloseAnswer(what, await run(backend, { ...problem, queryChunk }, cotangent), whole, tolerance);
          checkCloseAnswer(what, await run(backend, { ...problem, queryChunk }), keys, tolerance);
        }
      }
    },
    [1],
  ),
  rule(
    'anchor 2: k >= Lk is exact attention, forward and gradients',
    async ({ backend, tolerance }) => {
      const problem = draw('anchor 2', 'all');
      const cotangent = cotangentOf(problem);
      const exact = await run(backend, problem, cotangent);
      for (const kept of [9, 10, 1000]) {
        checkCloseAnswer(`k ${kept}`, await run(backend, { ...problem, kept }, cotangent), exact, tolerance);
      }
    },
    [2],
  ),
  rule(
    'anchor 2: k < Lk is softmax after masking all but the top k to -inf, forward and gradients',
    async ({ backend, tolerance }) => {
      for (const kept of [1, 2, 5, 8]) {
        const problem = draw('anchor 2', kept);
        const cotangent = cotangentOf(problem);
        const sparse = await run(backend, problem, cotangent);
        const { gradients, output } = await run(backend, masked(problem), cotangent);
        const { bias: _, ...others } = gradients;
        checkCloseAnswer(`k ${kept}`, sparse, { output, gradients: others }, tolerance);
      }
    },
    [2],
  ),
  rule(
    'anchor 3: early causal rows with fewer than k visible keys are exact and finite',
    async ({ backend, tolerance }) => {
      const random = new Random('anchor 3');
      const problem: AttentionProblem = {
        ...exactScores(random, { batch: 2, queryHeads: 2, queryLength: 12, keyLength: 12 }),
        kept: 5,
        causal: true,
      };
      const [topK, exact] = [await run(backend, problem), await run(backend, { ...problem, kept: 'all' })];
      check(topK.output.every(Number.isFinite), 'every output is finite');
      for (let row = 0; row < 48; row++) {
        if (row % 12 >= 5) continue;
        const span = [4 * row, 4 * row + 4] as const;
        checkClose(`row ${row}`, topK.output.slice(...span), exact.output.slice(...span), tolerance);
        const kept = topK.indices?.slice(5 * row, 5 * row + 5) ?? [];
        const visible = (row % 12) + 1;
        checkEqual(
          `kept keys of row ${row}`,
          kept,
          [0, 1, 2, 3, 4].map((j) => (j < visible ? j : -1)),
        );
      }
    },
    [3],
  ),
  rule('causal calls of any difference of lengths, beyond one tile of keys', async (context) => {
    // Lengths around multiples of 16 and 64, and every difference modulo 16.
    const pairs: (readonly [queries: number, keys: number])[] = [15, 16, 17, 31, 33, 63, 64, 65].flatMap(
      (keys) => [keys - 1, keys + 1].map((queries) => [queries, keys] as const),
    );
    for (let difference = 0; difference < 16; difference++) pairs.push([83 - difference, 83]);
    for (const [queryLength, keyLength] of pairs) {
      for (const kept of ['all', 6] as const) {
        const random = new Random(`tiles ${queryLength} ${keyLength}`);
        const problem = { ...exactScores(random, { queryLength, keyLength }), kept, causal: true };
        await checkAgainstOracle(context, problem, { gradients: false });
      }
    }
  }),
  rule('a row without a valid key gives zeros and zero gradients', async ({ backend }) => {
    for (const kept of [3, 'all'] as const) {
      const problem: AttentionProblem = { ...draw('empty', kept), keyLengths: list(0, 9) };
      const forward = await run(backend, problem);
      const trained = await run(backend, problem, cotangentOf(problem));
      const half = forward.output.length / 2;
      check(
        forward.output.slice(0, half).every((value) => value === 0),
        `k ${kept}: output of empty rows`,
      );
      check(
        forward.output.slice(half).every((value) => value !== 0),
        `k ${kept}: output of the other rows`,
      );
      for (const role of ['q', 'k', 'v'] as const) {
        const gradient = trained.gradients[role] ?? [];
        const own = gradient.slice(0, gradient.length / 2);
        check(
          own.length > 0 && own.every((value) => value === 0),
          `k ${kept}: gradient of ${role} of empty rows`,
        );
      }
    }
  }),
  rule('NaN in a valid score makes its row NaN and no other', async ({ backend, tolerance }) => {
    for (const kept of [1, 3, 9, 'all'] as const) {
      const problem: AttentionProblem = { ...draw('NaN', kept), causal: true, keyLengths: list(9, 6) };
      await checkAgainstOracle(
        { backend, tolerance },
        { ...problem, q: replaced(problem.q, ([b, h, i]) => b === 0 && h === 1 && i === 4, NAN) },
      );
      await checkAgainstOracle(
        { backend, tolerance },
        { ...problem, k: replaced(problem.k, ([b, , j, d]) => b === 1 && j === 5 && d === 2, NAN) },
      );
    }
  }),
  rule('a masked key never influences, even if its key and value rows are NaN', async ({ backend }) => {
    const hiding: readonly [string, Partial<AttentionProblem>][] = [
      ['mask', { mask: nd([1, 1, 1, 9], ([, , , j]) => (j === 2 || j === 8 ? 0 : 1)) }],
      ['bias', { bias: nd([1, 1, 1, 9], ([, , , j]) => (j === 2 || j === 8 ? -INF : 0.5)) }],
      ['key lengths', { keyLengths: list(7, 7) }],
    ];
    for (const kept of [3, 9, 'all'] as const) {
      for (const [name, extras] of hiding) {
        const isHidden = (j: number): boolean => (name === 'key lengths' ? j >= 7 : j === 2 || j === 8);
        const problem: AttentionProblem = { ...draw('hidden', kept), ...extras };
        for (const bad of [NAN, INF]) {
          // With a bias the score is NaN + -inf, which is NaN and not -inf: there the key row stays clean.
          const k = name === 'bias' ? problem.k : replaced(problem.k, ([, , j = 0]) => isHidden(j), bad);
          const v = replaced(problem.v, ([, , j = 0]) => isHidden(j), bad);
          const cotangent = cotangentOf(problem);
          const what = `${name}, k ${kept}, ${bad}`;
          checkSameAnswer(what, await run(backend, { ...problem, k, v }), await run(backend, problem));
          const [dirty, clean] = [
            await run(backend, { ...problem, k, v }, cotangent),
            await run(backend, problem, cotangent),
          ];
          checkSameAnswer(what, dirty, clean);
        }
      }
    }
  }),
  rule('a key that is not kept never influences, even if its value row is NaN', async ({ backend }) => {
    const problem = draw('unkept', 2);
    // Key 4 is far below all others for queries with a positive first component.
    const q = nd(problem.q.shape, ([, , , d], i) => (d === 0 ? 2 : (problem.q.data[i] as number)));
    const k = nd(problem.k.shape, ([, , j, d], i) =>
      j === 4 ? (d === 0 ? -64 : 0) : (problem.k.data[i] as number),
    );
    const clean = { ...problem, q, k };
    const dirty = { ...clean, v: replaced(problem.v, ([, , j]) => j === 4, NAN) };
    checkSameAnswer('forward', await run(backend, dirty), await run(backend, clean));
    const cotangent = cotangentOf(problem);
    checkSameAnswer('training', await run(backend, dirty, cotangent), await run(backend, clean, cotangent));
  }),
  rule('+inf ranks first, the lower index wins among several, and the row is NaN', async (context) => {
    for (const kept of [1, 2, 'all'] as const) {
      const problem = draw('infinite', kept);
      const bias = nd([1, 1, 7, 9], ([, , i = 0, j = 0]) =>
        i === 2 && j % 3 === 1 ? INF : i === 5 && j === 8 ? INF : 0,
      );
      await checkAgainstOracle(context, { ...problem, bias });
    }
  }),
  rule('infinite keys: scores of +inf, -inf and NaN as the products give them', async (context) => {
    for (const kept of [2, 'all'] as const) {
      const problem = draw('infinite keys', kept);
      const k = replaced(problem.k, ([b, h, j, d]) => b === 0 && h === 0 && j === 3 && d === 1, INF);
      await checkAgainstOracle(context, { ...problem, k });
    }
  }),
  rule('a NaN in a kept value row stays in its column', async (context) => {
    for (const kept of [9, 'all'] as const) {
      const problem = draw('NaN value', kept);
      const v = replaced(problem.v, ([b, h, j, d]) => b === 1 && h === 0 && j === 3 && d === 2, NAN);
      const { output } = await run(context.backend, { ...problem, v });
      const expected = solve(problem).output.map((value, i) =>
        i % 4 === 2 && Math.floor(i / 28) === 2 ? NAN : value,
      );
      checkClose(`k ${kept}`, output, expected, context.tolerance);
    }
  }),
  rule('kept sets follow the rule for scores that are not exact', async ({ backend, tolerance }) => {
    // Every key in the symmetric difference with brute force has a score within a few roundings of the k-th.
    for (let trial = 0; trial < 6; trial++) {
      const random = new Random(`set rule ${trial}`);
      const geometry = { queryHeads: 2, queryLength: 6, keyLength: 200, headDim: 16 };
      const problem: AttentionProblem = { ...roundedScores(random, geometry), kept: 20 };
      await checkSetRule(backend, problem, tolerance);
    }
  }),
  rule('equal inputs give equal bits, forward and backward', async ({ backend }) => {
    for (const kept of [3, 'all'] as const) {
      const problem: AttentionProblem = {
        ...roundedScores(new Random('bits'), {
          batch: 2,
          queryHeads: 4,
          keyHeads: 2,
          queryLength: 9,
          keyLength: 30,
        }),
        kept,
        causal: true,
        dropout: { rate: 0.2, seed: 8 },
        queryChunk: 4,
      };
      const cotangent = cotangentOf(problem);
      checkSameAnswer(`k ${kept}`, await run(backend, problem), await run(backend, problem));
      checkSameAnswer(
        `k ${kept}`,
        await run(backend, problem, cotangent),
        await run(backend, problem, cotangent),
      );
    }
  }),
  rule(
    'one tensor as query, key and value: its gradient is the sum of the three',
    async ({ backend, tolerance }) => {
      for (const kept of [3, 'all'] as const) {
        const { q } = exactScores(new Random('self'), { queryHeads: 2, queryLength: 6, keyLength: 6 });
        const problem: AttentionProblem = { q, k: q, v: q, scale: 0.5, causal: true, kept };
        const cotangent = cotangentOf(problem);
        const { gradients } = solve(problem, cotangent);
        const expected = q.data.map((_, i) =>
          (['q', 'k', 'v'] as const).reduce((sum, role) => sum + (gradients[role]?.[i] ?? 0), 0),
        );
        const x = tensor(backend, encode(q.data, 'f32'), q.shape);
        const options = { scale: 0.5, causal: true };
        const pulled = pullback(
          (p: Tensor) =>
            kept === 'all'
              ? exactAttention(p, p, p, options)
              : topKAttention(p, p, p, { ...options, k: kept }),
          x,
        );
        const upstream = tensor(backend, encode(cotangent.data, 'f32'), q.shape);
        const made = pulled.backward(upstream);
        checkClose(`k ${kept}`, await made.data(), expected, gradientTolerance(tolerance));
        for (const one of [x, upstream, made, pulled.output, pulled]) one.dispose();
      }
    },
  ),
  rule('gradients of one input alone, the others constant', async ({ backend, tolerance }) => {
    for (const kept of [3, 'all'] as const) {
      const problem = draw('alone', kept);
      const cotangent = cotangentOf(problem);
      const expected = solve(problem, cotangent).gradients;
      const up = (x: Nd): Tensor => tensor(backend, encode(x.data, 'f32'), x.shape);
      const inputs = { q: up(problem.q), k: up(problem.k), v: up(problem.v) };
      const upstream = up(cotangent);
      for (const role of ['q', 'k', 'v'] as const) {
        const pulled = pullback((one: Tensor) => {
          const { q, k, v }: typeof inputs = Object.assign({ ...inputs }, { [role]: one });
          return kept === 'all'
            ? exactAttention(q, k, v, { scale: 0.5 })
            : topKAttention(q, k, v, { scale: 0.5, k: kept });
        }, inputs[role]);
        const made = pulled.backward(upstream);
        checkClose(
          `${role}, k ${kept}`,
          await made.data(),
          expected[role] ?? [],
          gradientTolerance(tolerance),
        );
        for (const one of [made, pulled.output, pulled]) one.dispose();
      }
      for (const one of [...Object.values(inputs), upstream]) one.dispose();
    }
  }),
  rule('dropout depends on the seed, and drops about its rate', async ({ backend }) => {
    const random = new Random('dropout');
    const problem: AttentionProblem = {
      ...exactScores(random, { queryHeads: 2, queryLength: 30, keyLength: 40, valueDim: 1 }),
      v: nd([1, 2, 40, 1], () => 1),
      scale: 0,
      kept: 20,
    };
    const rate = 0.25;
    const [one, other] = [
      await run(backend, { ...problem, dropout: { rate, seed: 1 } }),
      await run(backend, { ...problem, dropout: { rate, seed: 2 } }),
    ];
    check(
      one.output.some((value, i) => value !== other.output[i]),
      'two seeds gave the same output',
    );
    // 20 equal weights of 1/20: the output is the share kept, divided by 0.75.
    const mean = one.output.reduce((sum, value) => sum + value, 0) / one.output.length;
    check(Math.abs(mean - 1) < 0.06, `the mean of the scaled weights is ${mean}`);
  }),
];
