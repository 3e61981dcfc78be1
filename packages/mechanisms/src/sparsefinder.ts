import {
  aFunction,
  aNumber,
  cast,
  type OptionKinds,
  oneOf,
  readOptions,
  scope,
  type Tensor,
  TopKError,
} from '@topk-attention/core';
import { addLoss, initializers, type Mechanism, type MechanismCall } from '@topk-attention/nn';
import { attendAll, scaledQuery } from './entmax.js';
import { entmaxOverGraph } from './graph.js';
import { type GraphCounts, graphCounts } from './graph-quality.js';
import { refuseIdle, requireNumber, requireWhole, shown } from './inputs.js';
import { stepWithKeys } from './kept-tokens.js';
import { type PredictorSettings, predictedGraph } from './predicted-graph.js';
import { predictorLoss } from './predictor-loss.js';
import { pairsAtATime } from './query-chunks.js';
import { seedOfCall } from './random.js';
import { notSoftmax } from './refusals.js';

export interface SparsefinderOptions {
  /**
   * Most keys of a query: of the candidates, window and first keys before the nearest others. At least as many as the window
   * and the first keys, 2 window + 1 + first; what is above that is predicted. Default 64.
   */
  readonly edges?: number;
  /**
   * When a key is a candidate: 'buckets', if it shares a bucket with the query in any coordinate of the projections;
   * 'clusters', if they share one of their nearest centroids; 'distance', if it is nearer than `radius`. Default 'buckets'.
   */
  readonly by?: 'buckets' | 'clusters' | 'distance';
  /** Coordinates that queries and keys are projected to. Default 4. */
  readonly projections?: number;
  /** By buckets: how many each coordinate has, of equal width on tanh of it. Default 8. */
  readonly buckets?: number;
  /** By clusters: centroids of each head. Default 16. */
  readonly clusters?: number;
  /** By clusters: nearest centroids of a query or a key that count. Default 1. */
  readonly nearest?: number;
  /** By distance. Default 1, the default margin. */
  readonly radius?: number;
  /** Keys on either side of a query that are always candidates. Default 3. */
  readonly window?: number;
  /** First keys that are always candidates. Default 1. */
  readonly first?: number;
  /** How much farther other keys should be than those with a weight, in the predictor's loss. Default 1. */
  readonly margin?: number;
  /** Called with how well each graph covers entmax's own. Costs all pairs; the tensor belongs to the function. */
  readonly onGraph?: (path: string, counts: GraphCounts) => void;
}

const kinds: OptionKinds<SparsefinderOptions> = {
  edges: aNumber,
  by: oneOf('buckets', 'clusters', 'distance'),
  projections: aNumber,
  buckets: aNumber,
  clusters: aNumber,
  nearest: aNumber,
  radius: aNumber,
  window: aNumber,
  first: aNumber,
  margin: aNumber,
  onGraph: aFunction(),
};

/** Options that only one way of finding candidates reads. */
const partsOf = [
  ['buckets', 'buckets'],
  ['clusters', 'clusters'],
  ['nearest', 'clusters'],
  ['radius', 'distance'],
] as const;

/** A mechanism whose graph can be asked for. */
export interface Sparsefinder extends Mechanism {
  /** Keys of each query, i32 [B, heads, Lq, M]. */
  predictGraph(call: MechanismCall): Tensor;
}

/**
 * Sparsefinder (Treviso et al., 2022): entmax over a graph that small projections of queries and keys predict. In training
 * it is entmax over all keys, and adds the predictor's loss, which moves the predictor alone: train a model with it, or
 * train only its `mechanism.*` parameters on a model trained with `entmaxAttention`. Otherwise entmax runs on the predicted
 * graph; where that covers a query's support, the result is the same. Choosing candidates compares all pairs of projections;
 * scores and values are those of the graph alone. All pairs go in chunks of queries, as those of `entmaxAttention` do.
 * Parameters `projection` [heads, r, headDim] and, for clusters, `centroids` [heads, c, r].
 *
 * @throws TopKError INVALID_OPTION, also for options of another way of finding candidates, and for training without seeds.
 *
 * @example
 * const layer = attentionLayer({ width: 64, heads: 4, mechanism: sparsefinder({ edges: 32, by: 'clusters' }) });
 */
export function sparsefinder(options?: SparsefinderOptions): Sparsefinder {
  const given = readOptions('sparsefinder', options, kinds);
  const { margin = 1, onGraph } = given;
  const by = given.by ?? 'buckets';
  for (const [name, goesWith] of partsOf) {
    if (by !== goesWith) refuseIdle('sparsefinder', name, given[name], `by: '${goesWith}'`, `by: '${by}'`);
  }
  const settings: PredictorSettings = {
    edges: given.edges ?? 64,
    by,
    buckets: given.buckets ?? 8,
    nearest: given.nearest ?? 1,
    radius: given.radius ?? 1,
    window: given.window ?? 3,
    first: given.first ?? 1,
  };
  const { projections = 4, clusters = 16 } = given;
  for (const [name, value] of Object.entries({ projections, clusters })) {
    requireWhole('sparsefinder', name, value, 1);
  }
  for (const name of ['edges', 'buckets', 'nearest'] as const) {
    requireWhole('sparsefinder', name, settings[name], 1);
  }
  for (const name of ['window', 'first'] as const) requireWhole('sparsefinder', name, settings[name], 0);
  requireRoom(settings);
  requireNumber('sparsefinder', 'radius', settings.radius, 'positive');
  requireNumber('sparsefinder', 'margin', margin, 'positive');
  requireNearest(clusters, settings);

  const attend = (call: MechanismCall): Tensor => {
    if (call.context.training) {
      addLoss(
        call.context,
        predictorLoss(call, { margin, by: settings.by, seed: seedOfCall('sparsefinder', call, 0) }),
      );
      return attendAll(call);
    }
    return attendPredicted(call, predictedGraph(call, settings), onGraph);
  };

  return {
    name: 'Sparsefinder',
    takes: ['causal', 'keyLengths', 'mask', 'decoding'],
    refusals: {
      bias: 'Scores are computed for the pairs of the graph alone, and biases would change which those are',
      relativeBias:
        'Scores are computed for the pairs of the graph alone, and biases would change which those are',
      dropout: 'Its graph is that of the weights of entmax, which are mostly 0 as they are',
      groupedHeads: 'Each head has projections of its own for queries and keys',
      zeroShot: `It predicts where entmax is not 0; softmax is 0 nowhere. ${notSoftmax}`,
    },
    declare: ({ heads, headDim }) => ({
      projection: {
        shape: [heads, projections, headDim],
        initializer: initializers.normal(headDim ** -0.5),
      },
      ...(settings.by === 'clusters' && {
        centroids: { shape: [heads, clusters, projections], initializer: initializers.normal() },
      }),
    }),
    predictGraph: (call) => predictedGraph(call, settings),
    attend: (call) => scope(() => attend(call)),
    step: (call, state) => stepWithKeys(call, state, (whole) => scope(() => attend(whole))),
  };
}

/** Keys that are always there tie, and fewer edges would keep the lowest of them: not even a query's own key. */
function requireRoom({ edges, window, first }: PredictorSettings): void {
  const always = 2 * window + 1 + first;
  if (edges >= always) return;
  throw new TopKError('INVALID_OPTION', 'sparsefinder: bad edges', {
    expected: `at least ${always}, 2 window + 1 + first with a window of ${window} and first of ${first}`,
    got: String(edges),
    fix: 'Use more edges, or a smaller window',
  });
}

function requireNearest(clusters: number, { nearest }: PredictorSettings): void {
  if (clusters >= nearest) return;
  throw new TopKError('INVALID_OPTION', 'sparsefinder: bad clusters', {
    expected: `at least ${nearest}, of which the nearest count`,
    got: String(clusters),
    fix: 'Use more clusters, or fewer nearest ones',
  });
}

function attendPredicted(
  call: MechanismCall,
  graph: Tensor,
  onGraph: SparsefinderOptions['onGraph'],
): Tensor {
  if (onGraph !== undefined) onGraph(call.path, graphCounts(call, graph));
  const query = scaledQuery(call);
  const most = pairsAtATime(query.backend, call.context);
  const output = entmaxOverGraph(query, shown(call, call.key), shown(call, call.value), graph, most);
  return cast(output, call.value.dtype);
}
