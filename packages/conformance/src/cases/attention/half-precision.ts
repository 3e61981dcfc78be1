import type { Backend } from '@topk-attention/core';
import { type ConformanceCase, needsHalves } from '../../harness/case.js';
import { checkClose, checkEqual } from '../../harness/support/assert.js';
import { list, type Nd } from '../../harness/support/nd.js';
import { Random } from '../../harness/support/random.js';
import { solve } from './brute-force.js';
import { checkGradients, cotangentOf } from './check.js';
import { eighths, exactScores } from './draw.js';
import { type AttentionAnswer, type AttentionProblem, run } from './problem.js';

function half(name: string, run: ConformanceCase['run']): ConformanceCase {
  return { name: `f16: ${name}`, group: 'attention', notFor: needsHalves, run };
}

const runHalf = (backend: Backend, problem: AttentionProblem, cotangent?: Nd): Promise<AttentionAnswer> =>
  run(backend, problem, cotangent, 'f16');

/** One sequence and one head of rows of numbers. */
const rows = (width: number, ...data: readonly number[]): Nd => ({
  shape: [1, 1, data.length / width, width],
  data,
});

/** Value widths that engines with 16-bit types can pack, and widths that they cannot. */
const widths = [1, 2, 3, 4];

/** Two rows, as keys or values; the second is 10 larger in each column. */
const twoKeys = (width: number): Nd =>
  rows(width, ...Array.from({ length: 2 * width }, (_, i) => (i < width ? i + 1 : i - width + 11)));

const options: Readonly<Record<string, (random: Random) => Partial<AttentionProblem>>> = {
  plain: () => ({}),
  causal: () => ({ causal: true }),
  'causal, with spare room': () => ({ causal: true, queryStart: 1 }),
  'with a mask': (random) => ({ mask: random.booleans([2, 4, 6, 9], 0.7) }),
  'with lengths': () => ({ keyLengths: list(5, 9) }),
  'with a bias': (random) => ({ bias: eighths(random, [1, 4, 6, 9]) }),
  'with a relative bias': (random) => ({
    table: eighths(random, [8, 4]),
    relative: { bidirectional: true, maxDistance: 16 },
  }),
  'with dropout, in chunks': () => ({ dropout: { rate: 0.25, seed: 3 }, queryChunk: 4 }),
};

/** Attention in f16 storage; sums, scores and softmax stay f32, so only stored values are coarse. */
export const attentionHalfCases: readonly ConformanceCase[] = [
  ...([3, 'all'] as const).flatMap((kept) =>
    Object.entries(options).map(([name, extras]) =>
      half(
        `attention, ${kept === 'all' ? 'exact' : `k ${kept}`}, ${name}: forward and gradients`,
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
  half('scores that are equal as halves keep their order', async ({ backend }) => {
    for (const width of widths) {
      const [q, k] = [rows(2, 64, 1), rows(2, 32, 0, 32, 1)];
      const problem = { q, k, v: twoKeys(width), scale: 1, kept: 1 };
      const { output, indices } = await runHalf(backend, problem);
      checkEqual(`kept key, width ${width}`, indices ?? [], [1]);
      checkEqual(`output, width ${width}`, output, twoKeys(width).data.slice(width));
    }
  }),
  half('scores beyond the largest half stay numbers', async ({ backend, tolerances }) => {
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
];
