import {
  aNumber,
  cast,
  concat,
  div,
  fill,
  graphAttention,
  linear,
  matmul,
  max,
  mul,
  type OptionKinds,
  readOptions,
  relu,
  reshape,
  scope,
  sigmoid,
  softmax,
  sum,
  type Tensor,
  where,
} from '@topk-attention/core';
import {
  addLoss,
  initializers,
  type Mechanism,
  type MechanismCall,
  parameterOf,
  visibleKeys,
} from '@topk-attention/nn';
import { perHead } from './features.js';
import { requireNumber, requireWhole, shown, shownQuery, visibleQueries } from './inputs.js';
import { passedEdges } from './passed-edges.js';
import { pairsAtATime } from './query-chunks.js';
import { seedOfCall } from './random.js';
import { notSoftmax } from './refusals.js';
import { sampleGraph } from './sample-graph.js';

export interface SbmOptions {
  /** Clusters that queries and keys belong to. Default 128. */
  readonly clusters?: number;
  /** Most draws of keys for a query; what is drawn twice counts once. Default 32. */
  readonly edges?: number;
  /** Added to the expected edges of each pair, so that every pair is tried at times. Default 0.01. */
  readonly exploration?: number;
  /** Weight of the loss that is the mean density of the graph. Default 1e-4. */
  readonly densityPenalty?: number;
  /** Of the graph in evaluation, where the run has no seeds. Default 0. */
  readonly seed?: number;
}

const kinds: OptionKinds<SbmOptions> = {
  clusters: aNumber,
  edges: aNumber,
  exploration: aNumber,
  densityPenalty: aNumber,
  seed: aNumber,
};

/**
 * SBM-Transformer (Cho et al., 2022): softmax over the keys of a random graph, drawn from a stochastic block model whose
 * memberships are learned. Memberships are sigmoid(mlp(x) C^T) of queries and keys, blocks the softmax over all entries of
 * C C^T; the expected number of edges of a pair is their product. Only listed pairs are computed. Each edge passes the
 * gradient of its weight on to its expected number, clipped to [-1, 1]; the density is an additional loss: collect it with
 * `withLosses`. Slots are drawn for some queries at a time: at most 2^24 numbers over all examples and heads, 2^27 on large
 * devices with WebGPU, fewer with a run's `budgetBytes`. So are memberships of listed keys gathered in the backward pass; on
 * WebGPU they are added as they are read, and as many slots are sorted at a time. Random in evaluation too, but the same
 * for equal seeds. Parameters `clusters` [heads, k, headDim] and `mlp.<i>.weight`, `mlp.<i>.bias`, shared by heads, queries
 * and keys.
 *
 * @throws TopKError INVALID_OPTION, also for training without seeds.
 *
 * @example
 * const layer = attentionLayer({ width: 64, heads: 4, mechanism: sbm({ clusters: 32, edges: 32 }) });
 */
export function sbm(options?: SbmOptions): Mechanism {
  const {
    clusters = 128,
    edges = 32,
    exploration = 0.01,
    densityPenalty = 1e-4,
    seed = 0,
  } = readOptions('sbm', options, kinds);
  requireWhole('sbm', 'clusters', clusters, 1);
  requireWhole('sbm', 'edges', edges, 1);
  requireWhole('sbm', 'seed', seed, 0);
  requireNumber('sbm', 'exploration', exploration, 0);
  requireNumber('sbm', 'densityPenalty', densityPenalty, 0);

  const attend = (call: MechanismCall): Tensor => {
    const { scale, keyLengths } = call.options;
    const rates = edgeRates(call, exploration);
    if (densityPenalty > 0) addLoss(call.context, mul(densityOf(call, rates), densityPenalty));
    const most = pairsAtATime(call.query.backend, call.context);
    const graph = sampleGraph(rates, edges, seedOfCall('sbm', call, seed), most);
    const wide = (x: Tensor): Tensor => cast(x, 'f32');
    const output = graphAttention(wide(call.query), wide(call.key), wide(call.value), graph, {
      bias: passedEdges({ ...rates.members, graph }, most),
      ...(scale !== undefined && { scale }),
      ...(keyLengths && { keyLengths }),
    });
    return cast(output, call.value.dtype);
  };

  return {
    name: 'SBM',
    takes: ['keyLengths'],
    refusals: {
      causal: 'The graph of a query is drawn by the memberships of all keys, later ones included',
      decoding: 'The graph of a query is drawn by the memberships of all keys, later ones included',
      mask: 'A graph is drawn from memberships, which know no mask of pairs',
      bias: 'Only the pairs of the graph have scores',
      relativeBias: 'Only the pairs of the graph have scores',
      dropout: 'The random graph takes the place of dropped weights',
      groupedHeads: 'Each head has clusters of its own for queries and keys',
      zeroShot: `Its graph is learned with the model. ${notSoftmax}`,
    },
    declare: ({ heads, headDim }) => {
      const matrix = { shape: [headDim, headDim], initializer: initializers.kaimingUniform() };
      const bias = { shape: [headDim], initializer: initializers.zeros };
      return {
        clusters: {
          shape: [heads, clusters, headDim],
          initializer: initializers.normal((2 / headDim) ** 0.5),
        },
        'mlp.0.weight': matrix,
        'mlp.0.bias': bias,
        'mlp.1.weight': matrix,
        'mlp.1.bias': bias,
      };
    },
    attend: (call) => scope(() => attend(call)),
  };
}

interface Rates {
  /** [B, heads, Lq, k + 1]: memberships times blocks, and a column of the exploration. */
  readonly query: Tensor;
  /** [B, heads, Lk, k + 1]: memberships, and a column of ones; zeros where hidden. */
  readonly key: Tensor;
}

/** Factors of the expected edges, and those of them that have gradients. Exported for tests. */
export function edgeRates(
  call: MechanismCall,
  exploration: number,
): Rates & {
  /** Without the last columns, [B, heads, Lq, k] and [B, heads, Lk, k]. */
  readonly members: Rates;
} {
  const of = (name: string): Tensor => cast(parameterOf(call.context, name), 'f32');
  const clusters = of('clusters');
  const [heads, count] = clusters.shape as readonly [number, number];
  const membership = (x: Tensor): Tensor => {
    const hidden = relu(linear(x, of('mlp.0.weight'), of('mlp.0.bias'), { transposeWeight: true }));
    const mixed = linear(hidden, of('mlp.1.weight'), of('mlp.1.bias'), { transposeWeight: true });
    return sigmoid(perHead(mixed, clusters));
  };
  const products = reshape(matmul(clusters, clusters, { transposeB: true }), [heads, count * count]);
  const blocks = reshape(softmax(products), [heads, count, count]);
  // The blocks are symmetric, so they are their own transpose.
  const mixed = perHead(membership(shownQuery(call)), blocks);
  const constant = (like: Tensor, value: number): Tensor =>
    fill(like.backend, value, [...like.shape.slice(0, 3), 1]);
  const own = membership(shown(call, call.key));
  const key = concat([own, constant(own, 1)], 3);
  const visible = visibleKeys(call);
  return {
    query: concat([mixed, constant(mixed, exploration)], 3),
    key: visible === undefined ? key : where(visible, key, 0),
    // A hidden key has no edge.
    members: { query: mixed, key: own },
  };
}

/**
 * Mean over heads and the pairs of all examples, without padding, of the expected edges, shape []: linear in the lengths.
 * 0 without pairs.
 */
function densityOf(call: MechanismCall, { query, key }: Rates): Tensor {
  const [batch, heads, queries] = query.shape as readonly [number, number, number];
  const [ofQueries, ofKeys] = [visibleQueries(call), visibleKeys(call)];
  // Rates of hidden keys are 0.
  const seen = ofQueries === undefined ? query : where(ofQueries, query, 0);
  const edges = sum(mul(sum(seen, { axes: [2] }), sum(key, { axes: [2] })));
  if (ofKeys === undefined)
    return mul(edges, 1 / Math.max(1, batch * heads * queries * (key.shape[2] as number)));
  const counted = (visible: Tensor): Tensor => sum(cast(visible, 'f32'), { axes: [2] });
  const pairs = mul(sum(mul(counted(ofKeys), ofQueries === undefined ? queries : counted(ofQueries))), heads);
  return div(edges, max(pairs, 1));
}
