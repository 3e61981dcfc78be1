import { gatherKeyRows } from '../attention/gather-key-rows.js';
import { listGradients, type SavedLists } from '../attention/list-gradients.js';
import { mapQueryChunks } from '../attention/map-query-chunks.js';
import { chunkOf, queryRows, replace } from '../attention/scores.js';
import { Sums } from '../attention/sums.js';
import type {
  GraphAttentionGradients,
  GraphAttentionInputs,
  GraphAttentionOutputs,
  GraphAttentionRequest,
} from '../contract/graph-attention.js';
import { add, cast, eq, logicalAnd, logicalNot, lt, mul, where } from '../ops/elementwise.js';
import { reshape } from '../ops/layout.js';
import { matmul } from '../ops/matmul.js';
import { sumTo } from '../ops/reduce.js';
import { softmax } from '../ops/select.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { countedEntries, earlierEntries } from './entries.js';

/** Attention over a graph from primitives, chunk by chunk: each query gathers the keys and values that it lists. */
export function composedGraphAttention(
  request: GraphAttentionRequest,
  inputs: GraphAttentionInputs<Tensor>,
  queryChunk: number,
): GraphAttentionOutputs<Tensor> {
  const { batch, queryHeads, queryLength, valueDim, entries, saves } = request;
  return scope(() => {
    const tensors = { ...inputs, ...widened(inputs) };
    const earlier = earlierEntries(inputs, entries);
    const run = (start: number, size: number): readonly Tensor[] =>
      scope(() => {
        const { indices, scores } = scoresOfEntries(request, tensors, earlier, start, size);
        const weights = softmax(scores);
        const rows = gatherKeyRows(request, tensors.v, indices);
        const sums = matmul(reshape(weights, [-1, 1, entries]), rows);
        const output = cast(reshape(sums, [batch, queryHeads, size, valueDim]), request.dtype);
        return saves ? [output, indices, scores] : [output];
      });
    const [output, indices, scores] = mapQueryChunks(inputs.q.backend, queryLength, queryChunk, run);
    return { output: output as Tensor, ...(indices && { indices }), ...(scores && { scores }) };
  });
}

/** Gradients from the lists that the forward pass saved: those of top-k attention. */
export function composedGraphAttentionBackward(
  request: GraphAttentionRequest,
  inputs: GraphAttentionInputs<Tensor>,
  saved: SavedLists,
  dOutput: Tensor,
  queryChunk: number,
): GraphAttentionGradients<Tensor> {
  const { queryLength, dtype } = request;
  const sums = new Sums(queryChunk < queryLength);
  const hasLongBias = inputs.bias !== undefined && inputs.bias.shape[2] !== 1;
  const [q, longBias] = scope(() => {
    const tensors = { ...inputs, ...widened(inputs) };
    return mapQueryChunks(inputs.q.backend, queryLength, queryChunk, (start, size) => {
      const dO = queryRows(dOutput, start, size);
      const chunk = listGradients(request, tensors, saved, dO, start, size);
      sums.add('k', chunk.k);
      sums.add('v', chunk.v);
      const dQ = cast(chunk.q, dtype);
      if (inputs.bias === undefined) return [dQ];
      const dBias = sumTo(chunk.scores, scope(() => chunkOf(inputs.bias as Tensor, start, size)).shape);
      if (hasLongBias) return [dQ, dBias];
      sums.add('bias', dBias);
      return [dQ];
    });
  });
  const bias = hasLongBias ? longBias : sums.get('bias');
  const inStorageType = (total: Tensor): Tensor =>
    dtype === 'f32' ? total : replace(total, cast(total, dtype));
  return {
    q: q as Tensor,
    k: inStorageType(sums.get('k') as Tensor),
    v: inStorageType(sums.get('v') as Tensor),
    ...(bias && { bias }),
  };
}

/** Keys and values in f32. The caller's scope disposes of them. */
function widened({ k, v }: GraphAttentionInputs<Tensor>): { readonly k: Tensor; readonly v: Tensor } {
  return { k: cast(k, 'f32'), v: cast(v, 'f32') };
}

/** The entries that count of queries start .. start + size - 1, and their scores; all [B, Hq, size, M]. */
function scoresOfEntries(
  request: GraphAttentionRequest,
  tensors: GraphAttentionInputs<Tensor>,
  earlier: Tensor | undefined,
  start: number,
  size: number,
): SavedLists {
  const { headDim, keyLength, entries, scale } = request;
  return scope(() => {
    const named = countedEntries(request, tensors, earlier, start, size);
    const scores = scope(() => {
      const products = scope(() => {
        const queries = reshape(queryRows(tensors.q, start, size), [-1, headDim, 1]);
        return reshape(matmul(gatherKeyRows(request, tensors.k, named), queries), [-1, entries]);
      });
      const scaled = reshape(mul(products, scale), named.shape);
      const { bias } = tensors;
      const biased = bias === undefined ? scaled : add(scaled, chunkOf(bias, start, size));
      return where(eq(named, -1), Number.NEGATIVE_INFINITY, biased);
    });
    // A score of -inf hides its key as well, whatever its value row holds. A number outside of the keys stands in its
    // score, which is NaN.
    const indices = scope(() => {
      const isKey = logicalAnd(lt(named, keyLength), logicalNot(eq(scores, Number.NEGATIVE_INFINITY)));
      return where(logicalAnd(isKey, lt(-1, named)), named, -1);
    });
    return { indices, scores };
  });
}
