import type { GraphAttentionRequest } from '../contract/graph-attention.js';
import { queryStartOf } from '../contract/request-facts.js';
import {
  broadcastOffset,
  type QueryPosition,
  roundingTo,
  type ScorePrecision,
  softmaxOf,
} from './attention-scores.js';
import type { Numbers } from './storage.js';

/** The tensors of a call as plain row-major arrays; shapes follow from the request. */
export interface GraphAttentionArrays {
  /** [B, Hq, Lq, D] */
  readonly q: Numbers;
  /** [B, Hkv, Lk, D] */
  readonly k: Numbers;
  /** [B, Hkv, Lk, Dv] */
  readonly v: Numbers;
  /** shape `request.graph` */
  readonly graph: Numbers;
  /** 1 = keep; shape `request.keyMask` */
  readonly keyMask?: Numbers;
  /** [B] */
  readonly keyLengths?: Numbers;
  /** shape `request.bias` */
  readonly bias?: Numbers;
}

export interface ReferenceGraphAttentionResult {
  /** [B, Hq, Lq, Dv] */
  readonly output: Float64Array;
  /** [B, Hq, Lq, M]: the keys of the entries that count, -1 for all others. */
  readonly indices: Int32Array;
  /** [B, Hq, Lq, M]: their scores; NaN for numbers outside of the keys, -inf for all others. */
  readonly scores: Float64Array;
}

export interface ReferenceGraphAttentionGradients {
  readonly q: Float64Array;
  readonly k: Float64Array;
  readonly v: Float64Array;
  /** The bias's own shape; empty without one. */
  readonly bias: Float64Array;
}

/** One entry that counts. Its key may lie outside of the keys: then the score is NaN. */
interface Edge {
  readonly slot: number;
  readonly key: number;
  readonly score: number;
}

interface Query extends QueryPosition {
  readonly row: number;
  readonly keyHead: number;
}

function* queriesOf(request: GraphAttentionRequest): Generator<Query> {
  const { batch: batches, queryHeads, keyHeads, queryLength } = request;
  let row = 0;
  for (let batch = 0; batch < batches; batch++) {
    for (let head = 0; head < queryHeads; head++) {
      const keyHead = batch * keyHeads + Math.floor((head * keyHeads) / queryHeads);
      for (let query = 0; query < queryLength; query++) yield { batch, head, query, row: row++, keyHead };
    }
  }
}

function isHidden(
  request: GraphAttentionRequest,
  arrays: GraphAttentionArrays,
  { batch, query }: Query,
  key: number,
): boolean {
  if (request.causal && key > query + queryStartOf(request)) return true;
  if (arrays.keyLengths !== undefined && key >= (arrays.keyLengths[batch] as number)) return true;
  if (request.keyMask === undefined || arrays.keyMask === undefined) return false;
  const row = request.keyMask[0] === 1 ? 0 : batch;
  return arrays.keyMask[row * request.keyLength + key] === 0;
}

/** The entries of a row that count, in their order: the first of each key that is not hidden, with a score above -inf. */
function edgesOf(
  request: GraphAttentionRequest,
  arrays: GraphAttentionArrays,
  at: Query,
  round: (x: number) => number,
): Edge[] {
  const { entries, graph, headDim, keyLength, scale, bias } = request;
  const edges: Edge[] = [];
  const seen = new Set<number>();
  for (let slot = 0; slot < entries; slot++) {
    const key = arrays.graph[broadcastOffset(graph, at.batch, at.head, at.query, slot)] as number;
    if (key === -1 || seen.has(key)) continue;
    seen.add(key);
    if (key < 0 || key >= keyLength) {
      edges.push({ slot, key, score: Number.NaN });
      continue;
    }
    if (isHidden(request, arrays, at, key)) continue;
    let dot = 0;
    for (let d = 0; d < headDim; d++) {
      const k = arrays.k[(at.keyHead * keyLength + key) * headDim + d] as number;
      dot += (arrays.q[at.row * headDim + d] as number) * k;
    }
    let score = round(round(scale) * round(dot));
    if (bias !== undefined && arrays.bias !== undefined) {
      const offset = broadcastOffset(bias, at.batch, at.head, at.query, slot);
      score = round(score + (arrays.bias[offset] as number));
    }
    if (score !== Number.NEGATIVE_INFINITY) edges.push({ slot, key, score });
  }
  return edges;
}

/**
 * Attention over a graph, one query at a time in f64: softmax over the scores of the entries that count, whatever their
 * order. With `precision` 'f32' scores are rounded as engines round them.
 */
export function referenceGraphAttention(
  request: GraphAttentionRequest,
  arrays: GraphAttentionArrays,
  precision: ScorePrecision = 'f64',
): ReferenceGraphAttentionResult {
  const { batch, queryHeads, queryLength, keyLength, valueDim, entries } = request;
  const rows = batch * queryHeads * queryLength;
  const output = new Float64Array(rows * valueDim);
  const indices = new Int32Array(rows * entries).fill(-1);
  const scores = new Float64Array(rows * entries).fill(Number.NEGATIVE_INFINITY);
  for (const at of queriesOf(request)) {
    const edges = edgesOf(request, arrays, at, roundingTo(precision));
    const weights = softmaxOf(edges.map(({ score }) => score));
    edges.forEach(({ slot, key, score }, i) => {
      if (key >= 0 && key < keyLength) indices[at.row * entries + slot] = key;
      scores[at.row * entries + slot] = score;
      for (let d = 0; d < valueDim; d++) {
        // Outside of the keys there is no value, and the weight is NaN.
        const value = arrays.v[(at.keyHead * keyLength + key) * valueDim + d] ?? Number.NaN;
        const place = at.row * valueDim + d;
        output[place] = (output[place] as number) + (weights[i] as number) * value;
      }
    });
  }
  return { output, indices, scores };
}

/**
 * The gradients of `referenceGraphAttention`, one entry at a time: dV_j += P_j G, dP_j = G . V_j,
 * dS_j = P_j (dP_j - sum P dP), dQ += scale dS_j K_j, dK_j += scale dS_j Q, dBias += dS_j.
 */
export function referenceGraphAttentionBackward(
  request: GraphAttentionRequest,
  arrays: GraphAttentionArrays,
  dOutput: Numbers,
  precision: ScorePrecision = 'f64',
): ReferenceGraphAttentionGradients {
  const { headDim, keyLength, valueDim, scale } = request;
  const dq = new Float64Array(arrays.q.length);
  const dk = new Float64Array(arrays.k.length);
  const dv = new Float64Array(arrays.v.length);
  const dBias = new Float64Array(arrays.bias?.length ?? 0);
  const add = (sums: Float64Array, place: number, value: number): void => {
    sums[place] = (sums[place] as number) + value;
  };
  for (const at of queriesOf(request)) {
    const edges = edgesOf(request, arrays, at, roundingTo(precision));
    const weights = softmaxOf(edges.map(({ score }) => score));
    const isInside = ({ key }: Edge): boolean => key >= 0 && key < keyLength;
    const dWeights = edges.map((edge, i) => {
      if (!isInside(edge)) return Number.NaN;
      const start = (at.keyHead * keyLength + edge.key) * valueDim;
      let dot = 0;
      for (let d = 0; d < valueDim; d++) {
        const gradient = dOutput[at.row * valueDim + d] as number;
        add(dv, start + d, (weights[i] as number) * gradient);
        dot += gradient * (arrays.v[start + d] as number);
      }
      return dot;
    });
    const mean = dWeights.reduce((sum, dWeight, i) => sum + (weights[i] as number) * dWeight, 0);
    edges.forEach((edge, i) => {
      const dScore = (weights[i] as number) * ((dWeights[i] as number) - mean);
      for (let d = 0; d < headDim; d++) {
        const place = (at.keyHead * keyLength + edge.key) * headDim + d;
        const k = isInside(edge) ? (arrays.k[place] as number) : Number.NaN;
        add(dq, at.row * headDim + d, scale * dScore * k);
        if (isInside(edge)) add(dk, place, scale * dScore * (arrays.q[at.row * headDim + d] as number));
      }
      if (request.bias !== undefined) {
        add(dBias, broadcastOffset(request.bias, at.batch, at.head, at.query, edge.slot), dScore);
      }
    });
  }
  return { q: dq, k: dk, v: dv, bias: dBias };
}
