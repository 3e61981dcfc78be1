import type { ConformanceCase } from '../case.js';
import { check, checkClose, checkSameBits } from '../support/assert.js';
import { nd } from '../support/nd.js';
import { Random } from '../support/random.js';
import { drawFeedForward } from './oracle-cases.js';
import { type FeedForwardProblem, run } from './problem.js';

function rule(name: string, body: ConformanceCase['run'], anchors?: readonly number[]): ConformanceCase {
  return { name: `topKFeedForward: ${name}`, group: 'feed-forward', run: body, ...(anchors && { anchors }) };
}

const base = (seed: string, kept = 4): FeedForwardProblem =>
  drawFeedForward(new Random(seed), { name: seed, kept, biased: true });

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
