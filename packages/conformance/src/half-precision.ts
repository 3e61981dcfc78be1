import type { Backend } from '@topk-attention/core';
import { solve } from './attention/brute-force.js';
import { checkGradients, cotangentOf } from './attention/check.js';
import { eighths, exactScores } from './attention/draw.js';
import { type AttentionAnswer, type AttentionProblem, run } from './attention/problem.js';
import type { ConformanceCase } from './case.js';
import { solve as solveFeedForward } from './feed-forward/brute-force.js';
import { drawFeedForward } from './feed-forward/oracle-cases.js';
import {
  type FeedForwardProblem,
  outputShape,
  run as runFeedForward,
  weightRoles,
} from './feed-forward/problem.js';
import { checkClose, checkEqual } from './support/assert.js';
import { list, type Nd } from './support/nd.js';
import { Random } from './support/random.js';

const needsHalves: NonNullable<ConformanceCase['notFor']> = ({ dtypes }) =>
  dtypes.includes('f16') ? undefined : 'has no f16 tensors';

function half(
  name: string,
  group: 'attention' | 'feed-forward',
  body: ConformanceCase['run'],
): ConformanceCase {
  return { name: `f16: ${name}`, group, notFor: needsHalves, run: body };
}

const runHalf = (backend: Backend, problem: AttentionProblem, cotangent?: Nd): Promise<AttentionAnswer> =>
  run(backend, problem, cotangent, 'f16');

/** One sequence and one head of rows of numbers. */
const rows = (width: number, ...data: readonly number[]): Nd => ({
  shape: [1, 1, data.length / width, width],
  data,
});

/** Value widths that engines with 16-bit types pack, and those that they cannot. */
const widths = [1, 2, 3, 4];

/** Two keys and values of which the second is 10 larger in each column. */
const twoKeys = (width: number): Nd =>
  rows(width, ...Array.from({ length: 2 * width }, (_, i) => (i < width ? i + 1 : i - width + 11)));

const options: Readonly<Record<string, (random: Random) => Partial<AttentionProblem>>> = {
  plain: () => ({}),
  causal: () => ({ causal: true }),
  'with a mask': (random) => ({ mask: random.booleans([2, 4, 6, 9], 0.7) }),
  'with lengths': () => ({ keyLengths: list(5, 9) }),
  'with a bias': (random) => ({ bias: eighths(random, [1, 4, 6, 9]) }),
  'with a relative bias': (random) => ({
    table: eighths(random, [8, 4]),
    relative: { bidirectional: true, maxDistance: 16 },
  }),
  'with dropout, in chunks': () => ({ dropout: { rate: 0.25, seed: 3 }, queryChunk: 4 }),
};

/** Whole layers in f16 storage; sums, scores and softmax stay f32, so only stored values are coarse. */
export const halfPrecisionCases: readonly ConformanceCase[] = [
  ...([3, 'all'] as const).flatMap((kept) =>
    Object.entries(options).map(([name, extras]) =>
      half(
        `attention, ${kept === 'all' ? 'exact' : `k ${kept}`}, ${name}: forward and gradients`,
        'attention',
        async ({ backend, tolerances }) => {
          const random = new Random(`f16 attention ${name}`);
          const geometry = { batch: 2, queryHeads: 4, keyHeads: 2, queryLength: 6, keyLength: 9 };
          const problem = { ...exactScores(random, geometry), kept, ...extras(random) };
          const cotangent = cotangentOf(problem);
          const expected = solve(problem, cotangent);
          const got = await runHalf(backend, problem);
          checkClose('output', got.output, expected.output, tolerances.f16);
          if (expected.indices) checkEqual('kept keys', got.indices ?? [], expected.indices);
          const trained = await runHalf(backend, problem, cotangent);
          checkClose('output while training', trained.output, expected.output, tolerances.f16);
          checkGradients(trained.gradients, expected.gradients, tolerances.f16);
        },
      ),
    ),
  ),
  half('scores that are equal as halves keep their order', 'attention', async ({ backend }) => {
    for (const width of widths) {
      const [q, k] = [rows(2, 64, 1), rows(2, 32, 0, 32, 1)];
      const problem = { q, k, v: twoKeys(width), scale: 1, kept: 1 };
      const { output, indices } = await runHalf(backend, problem);
      checkEqual(`kept key, width ${width}`, indices ?? [], [1]);
      checkEqual(`output, width ${width}`, output, twoKeys(width).data.slice(width));
    }
  }),
  half('scores beyond the largest half stay numbers', 'attention', async ({ backend, tolerances }) => {
    for (const width of widths) {
      for (const scale of [1, 1e-4, -1e-3]) {
        for (const kept of [1, 2, 'all'] as const) {
          const [q, k] = [rows(2, 300, 300), rows(2, 300, 300, 299, 300)];
          const problem = { q, k, v: twoKeys(width), scale, kept };
          const { output } = await runHalf(backend, problem);
          checkClose(
            `k ${kept}, scale ${scale}, width ${width}`,
            output,
            solve(problem).output,
            tolerances.f16,
          );
        }
      }
    }
  }),
  ...(['relu', 'gelu'] as const).flatMap((activation) =>
    [4, 12].map((kept) =>
      half(
        `feed-forward, ${activation}, k ${kept} of 12: forward and gradients`,
        'feed-forward',
        async ({ backend, tolerances }) => {
          const recipe = { name: 'f16', kept, activation, biased: true, gated: activation === 'gelu' };
          const problem = drawFeedForward(new Random('f16 feed-forward'), recipe);
          const cotangent = new Random('cotangent').uniform(outputShape(problem));
          const expected = solveFeedForward(problem, cotangent);
          const got = await runFeedForward(backend, problem, cotangent, 'f16');
          checkClose('output', got.output, expected.output, tolerances.f16);
          for (const role of weightRoles) {
            const wanted = expected.gradients[role];
            if (wanted === undefined) continue;
            checkClose(`gradient of ${role}`, got.gradients[role] ?? [], wanted, {
              absolute: 5 * tolerances.f16.absolute,
              relative: 5 * tolerances.f16.relative,
            });
          }
        },
      ),
    ),
  ),
  half(
    'pre-activations keep the range and the order of f32',
    'feed-forward',
    async ({ backend, tolerances }) => {
      const layer = (x: number[], wIn: number[], wOut: number[], kept: number): FeedForwardProblem => ({
        x: { shape: [1, 2], data: x },
        wIn: { shape: [2, 2], data: wIn },
        wOut: { shape: [2, 2], data: wOut },
        kept,
        activation: 'relu',
        select: 'preactivation',
      });
      for (const kept of [1, 2]) {
        const large = layer([300, 300], [300, 0, 300, 0], [2 ** -10, 0, 0, 1], kept);
        const { output } = await runFeedForward(backend, large, undefined, 'f16');
        checkClose(`180000 / 1024, k ${kept}`, output, [175.78125, 0], tolerances.f16);
      }
      const close = layer([64, 1], [32, 32, 0, 1], [2 ** -10, 0, 0, 2 ** -10], 1);
      const { output } = await runFeedForward(backend, close, undefined, 'f16');
      checkClose('units of 2048 and 2049, k 1', output, [0, 2049 / 1024], tolerances.f16);
    },
  ),
];
