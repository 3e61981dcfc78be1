import {
  cast,
  exactAttention,
  scope,
  type Tensor,
  tensor,
  topKAttention,
  topKFeedForward,
} from '@topk-attention/core';
import { solve } from './attention/brute-force.js';
import { exactScores } from './attention/draw.js';
import type { AttentionProblem } from './attention/problem.js';
import type { ConformanceCase } from './case.js';
import { drawFeedForward } from './feed-forward/oracle-cases.js';
import { solve as solveFeedForward } from './feed-forward/problem.js';
import { check, checkClose } from './support/assert.js';
import type { Nd } from './support/nd.js';
import { Random } from './support/random.js';
import { encode } from './support/workbench.js';

const needsHalves: ConformanceCase['notFor'] = ({ dtypes }) =>
  dtypes.includes('f16') ? undefined : 'has no f16 tensors';

/** Whole layers in f16 storage; sums, scores and softmax stay f32, so only stored values are coarse. */
export const halfPrecisionCases: readonly ConformanceCase[] = [
  ...([3, 'all'] as const).map(
    (kept): ConformanceCase => ({
      name: `f16: attention, ${kept === 'all' ? 'exact' : `k ${kept}`}`,
      group: 'attention',
      notFor: needsHalves,
      async run({ backend, tolerances }) {
        const random = new Random('f16 attention');
        const geometry = { batch: 2, queryHeads: 4, keyHeads: 2, queryLength: 6, keyLength: 9 };
        const problem: AttentionProblem = { ...exactScores(random, geometry), kept, causal: true };
        const output = scope(() => {
          const half = (x: Nd): Tensor => tensor(backend, encode(x.data, 'f16'), x.shape);
          const [q, k, v] = [half(problem.q), half(problem.k), half(problem.v)];
          const options = { scale: 0.5, causal: true };
          const made =
            kept === 'all'
              ? exactAttention(q, k, v, options)
              : topKAttention(q, k, v, { ...options, k: kept });
          check(made.dtype === 'f16', `output of dtype ${made.dtype}`);
          return cast(made, 'f32');
        });
        checkClose('output', [...(await output.data())], solve(problem).output, tolerances.f16);
        output.dispose();
      },
    }),
  ),
  {
    name: 'f16: feed-forward',
    group: 'feed-forward',
    notFor: needsHalves,
    async run({ backend, tolerances }) {
      const problem = drawFeedForward(new Random('f16 feed-forward'), { name: 'f16', kept: 4 });
      const output = scope(() => {
        const half = (x: Nd): Tensor => tensor(backend, encode(x.data, 'f16'), x.shape);
        return cast(
          topKFeedForward(half(problem.x), { wIn: half(problem.wIn), wOut: half(problem.wOut) }, { k: 4 }),
          'f32',
        );
      });
      checkClose('output', [...(await output.data())], solveFeedForward(problem).output, tolerances.f16);
      output.dispose();
    },
  },
];
