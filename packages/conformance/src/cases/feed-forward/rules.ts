import type { ConformanceCase } from '../../harness/case.js';
import { check, checkClose, checkSameBits } from '../../harness/support/assert.js';
import { nd } from '../../harness/support/nd.js';
import { Random } from '../../harness/support/random.js';
import { solve } from './brute-force.js';
import { drawFeedForward } from './oracle-cases.js';
import { type FeedForwardProblem, run, weightRoles } from './problem.js';

function rule(name: string, body: ConformanceCase['run'], anchors?: readonly number[]): ConformanceCase {
  return { name: `topKFeedForward: ${name}`, group: 'feed-forward', run: body, ...(anchors && { anchors }) };
}

const base = (seed: string, kept = 4): FeedForwardProblem =>
  drawFeedForward(new Random(seed), { name: seed, kept, biased: true });

/** Layers small enough to be worked out by hand: one token and three units, two of them kept. */
interface Stated extends FeedForwardProblem {
  readonly name: string;
  readonly output: readonly number[];
  readonly dO?: readonly number[];
  readonly gradients?: Partial<Record<(typeof weightRoles)[number], readonly number[]>>;
}

function stated(
  name: string,
  parts: Partial<FeedForwardProblem> & { readonly in: readonly number[]; readonly out: readonly number[] },
  answer: Pick<Stated, 'output' | 'dO' | 'gradients'>,
): Stated {
  const { in: into, out, ...rest } = parts;
  return {
    name,
    x: { shape: [1, 1], data: [1] },
    wIn: { shape: [1, 3], data: into },
    wOut: { shape: [3, 2], data: out },
    kept: 2,
    activation: 'relu',
    select: 'preactivation',
    ...rest,
    ...answer,
  };
}

const INF = Number.POSITIVE_INFINITY;
const infiniteWeights: readonly Stated[] = [
  stated(
    'inf stays in its column',
    { in: [4, 2, 1], out: [INF, 2, 1, 4, Number.NaN, -INF] },
    { output: [INF, 16], dO: [0, 1], gradients: { wOut: [0, 4, 0, 2, 0, 0] } },
  ),
  stated(
    'inf and -inf add up as in plain arithmetic',
    { in: [4, 2, 1], out: [INF, -INF, -INF, 4, INF, Number.NaN] },
    { output: [Number.NaN, -INF] },
  ),
  stated(
    'a negative activation turns the sign',
    { in: [-0.5, 2, -9], out: [INF, 1, 3, 0, Number.NaN, INF], activation: 'gelu' },
    // 2 * Phi(2) times its row, and -0.5 * Phi(-0.5).
    { output: [-INF, -0.15426876936299347] },
  ),
  stated(
    'an activation of 0 times inf is NaN',
    { in: [-1, 2, -9], out: [INF, 1, 3, 1, 0, 0] },
    { output: [Number.NaN, 2] },
  ),
  stated(
    'of a unit that is not kept do not reach the gradient of x',
    { in: [4, 2, -INF], out: [1, 2, 1, 4, 1, 1] },
    { output: [6, 16], dO: [1, 1], gradients: { x: [22], wIn: [3, 5, 0], wOut: [4, 4, 2, 2, 0, 0] } },
  ),
  stated(
    'of the gate of a unit that is not kept do not reach the gradient of x',
    { in: [4, 2, 1], out: [1, 2, 1, 4, 1, 1], wGate: { shape: [1, 3], data: [1, 0.5, INF] } },
    // Values 4 * 1 and 2 * 0.5; through the pre-activations 3 * 4 + 2.5 * 2, through the gates 12 * 1 + 10 * 0.5.
    { output: [5, 12], dO: [1, 1], gradients: { x: [34], wGate: [12, 10, 0] } },
  ),
  stated(
    'of a kept unit are loud in the output and in the gradient of x',
    { in: [INF, 2, 1], out: [1, 2, 1, 4, 1, 1] },
    { output: [INF, INF], dO: [1, 1], gradients: { x: [INF], wIn: [3, 5, 0] } },
  ),
];

export const feedForwardRules: readonly ConformanceCase[] = [
  rule('a NaN pre-activation makes the whole token NaN, and no other', async ({ backend, tolerance }) => {
    for (const activation of ['relu', 'gelu', 'gelu_tanh', 'silu'] as const) {
      for (const kept of [2, 12]) {
        const problem = { ...base('NaN token', kept), activation };
        const clean = await run(backend, problem);
        const x = nd(problem.x.shape, (_, i) => (i === 7 ? Number.NaN : (problem.x.data[i] as number)));
        const { output } = await run(backend, { ...problem, x });
        const expected = clean.output.map((value, i) => (Math.floor(i / 3) === 1 ? Number.NaN : value));
        checkClose(`output, ${activation}, k ${kept}`, output, expected, tolerance);
      }
    }
  }),
  rule(
    'a unit that is not kept never influences, even if its rows of wOut are NaN or infinite',
    async ({ backend }) => {
      for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
        const plain = base('unkept');
        // Unit 5 is the worst of every token.
        const bIn = nd([12], ([unit]) => (unit === 5 ? -1000 : 0));
        const problem = { ...plain, bIn };
        const clean = await run(
          backend,
          problem,
          nd([6, 3], () => 1),
        );
        const wOut = nd([12, 3], ([unit], i) => (unit === 5 ? bad : (problem.wOut.data[i] as number)));
        const dirty = await run(
          backend,
          { ...problem, wOut },
          nd([6, 3], () => 1),
        );
        checkSameBits(`output, ${bad}`, Float64Array.from(dirty.output), Float64Array.from(clean.output));
        for (const role of ['x', 'wIn', 'bIn', 'wOut', 'bOut'] as const) {
          const [mine, wanted] = [dirty.gradients[role] ?? [], clean.gradients[role] ?? []];
          checkSameBits(`gradient of ${role}, ${bad}`, Float64Array.from(mine), Float64Array.from(wanted));
        }
      }
    },
  ),
  ...infiniteWeights.map(({ name, output, dO, gradients, ...problem }) =>
    rule(`infinite weights: ${name}`, async ({ backend, tolerance }) => {
      const cotangent = dO && { shape: [1, dO.length], data: dO };
      const solved = solve(problem, cotangent);
      checkClose('output of the brute force', solved.output, output, tolerance);
      checkClose('output', (await run(backend, problem)).output, output, tolerance);
      if (cotangent === undefined) return;
      const trained = await run(backend, problem, cotangent);
      checkClose('output while training', trained.output, output, tolerance);
      for (const role of weightRoles) {
        const wanted = gradients?.[role];
        if (wanted === undefined) continue;
        checkClose(`gradient of ${role} of the brute force`, solved.gradients[role] ?? [], wanted, tolerance);
        checkClose(`gradient of ${role}`, trained.gradients[role] ?? [], wanted, tolerance);
      }
    }),
  ),
  rule(
    'with at most k positive pre-activations relu top-k is the dense layer',
    async ({ backend, tolerance }) => {
      const problem = base('few positive', 6);
      const bIn = nd([12], ([unit = 0]) => (unit < 6 ? 20 : -40));
      const [topK, dense] = [
        await run(backend, { ...problem, bIn }),
        await run(backend, { ...problem, bIn, kept: 12 }),
      ];
      checkClose('output', topK.output, dense.output, tolerance);
      check(
        dense.output.some((value) => Math.abs(value) > 1),
        'the layer is not trivial',
      );
    },
    [3],
  ),
  rule('equal inputs give equal bits', async ({ backend }) => {
    const problem = base('bits');
    const cotangent = new Random('bits').uniform([6, 3]);
    const [a, b] = [await run(backend, problem, cotangent), await run(backend, problem, cotangent)];
    checkSameBits('output', Float64Array.from(a.output), Float64Array.from(b.output));
    for (const role of ['x', 'wIn', 'bIn', 'wOut', 'bOut'] as const) {
      const [first, second] = [a.gradients[role] ?? [], b.gradients[role] ?? []];
      checkSameBits(`gradient of ${role}`, Float64Array.from(first), Float64Array.from(second));
    }
  }),
  rule(
    'chunks do not change the result',
    async ({ backend, tolerance }) => {
      const problem = base('chunks');
      const cotangent = new Random('chunks').uniform([6, 3]);
      const whole = await run(backend, { ...problem, tokenChunk: 6 }, cotangent);
      for (const tokenChunk of [1, 4, 50]) {
        const chunked = await run(backend, { ...problem, tokenChunk }, cotangent);
        checkClose(`output, chunk ${tokenChunk}`, chunked.output, whole.output, tolerance);
        for (const role of ['x', 'wIn', 'bIn', 'wOut', 'bOut'] as const) {
          const [mine, wanted] = [chunked.gradients[role] ?? [], whole.gradients[role] ?? []];
          checkClose(`gradient of ${role}, chunk ${tokenChunk}`, mine, wanted, {
            absolute: 5 * tolerance.absolute,
            relative: 5 * tolerance.relative,
          });
        }
      }
    },
    [1],
  ),
];
