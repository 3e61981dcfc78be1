import { type ConformanceCase, needsHalves } from '../../harness/case.js';
import { checkClose, gradientTolerance } from '../../harness/support/assert.js';
import { Random } from '../../harness/support/random.js';
import { solve } from './brute-force.js';
import { drawFeedForward } from './oracle-cases.js';
import { type FeedForwardProblem, outputShape, run, weightRoles } from './problem.js';

function half(name: string, body: ConformanceCase['run']): ConformanceCase {
  return { name: `f16: ${name}`, group: 'feed-forward', notFor: needsHalves, run: body };
}

/** The layer in f16 storage; sums and pre-activations stay f32, so only stored values are coarse. */
export const feedForwardHalfCases: readonly ConformanceCase[] = [
  ...(['relu', 'gelu'] as const).flatMap((activation) =>
    [4, 12].map((kept) =>
      half(
        `feed-forward, ${activation}, k ${kept} of 12: forward and gradients`,
        async ({ backend, tolerances }) => {
          const recipe = { name: 'f16', kept, activation, biased: true, gated: activation === 'gelu' };
          const problem = drawFeedForward(new Random('f16 feed-forward'), recipe);
          const cotangent = new Random('cotangent').uniform(outputShape(problem));
          const expected = solve(problem, cotangent);
          const got = await run(backend, problem, cotangent, 'f16');
          checkClose('output', got.output, expected.output, tolerances.f16);
          for (const role of weightRoles) {
            const wanted = expected.gradients[role];
            if (wanted === undefined) continue;
            const mine = got.gradients[role] ?? [];
            checkClose(`gradient of ${role}`, mine, wanted, gradientTolerance(tolerances.f16));
          }
        },
      ),
    ),
  ),
  half('pre-activations keep the range and the order of f32', async ({ backend, tolerances }) => {
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
      const { output } = await run(backend, large, undefined, 'f16');
      checkClose(`180000 / 1024, k ${kept}`, output, [175.78125, 0], tolerances.f16);
    }
    const close = layer([64, 1], [32, 32, 0, 1], [2 ** -10, 0, 0, 2 ** -10], 1);
    const { output } = await run(backend, close, undefined, 'f16');
    checkClose('units of 2048 and 2049, k 1', output, [0, 2049 / 1024], tolerances.f16);
  }),
];
