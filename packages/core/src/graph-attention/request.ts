import { checkBroadcast, checkKeyLengths, checkKeyMask } from '../attention/check-keys.js';
import { checkFloats, checkScale, extentsOf, queryStartFor } from '../attention/request.js';
import type { GraphAttentionInputs, GraphAttentionRequest } from '../contract/graph-attention.js';
import { checkLimits } from '../operation/check-limits.js';
import type { OutputSpec } from '../tensor/apply.js';
import type { GraphAttentionOptions } from './options.js';

/** The options that are numbers or words. */
type PlainOptions = Pick<
  GraphAttentionOptions,
  'scale' | 'causal' | 'queryStart' | 'queryChunk' | 'budgetBytes'
>;

/** The checked request of a call, from shapes and options. Without `saves`. */
export function graphAttentionRequest(
  where: string,
  specs: GraphAttentionInputs<OutputSpec>,
  options: PlainOptions,
): GraphAttentionRequest {
  const { q, k, v, graph, keyMask, keyLengths, bias } = specs;
  const dtype = checkFloats(where, { q, k, v });
  const extents = extentsOf(where, { q, k, v });
  const { batch, queryHeads, queryLength, keyLength, headDim } = extents;
  const { scale = headDim ** -0.5, causal = false } = options;
  checkLimits(where, 'queryChunk', options.queryChunk, options.budgetBytes);
  checkScale(where, scale);
  const entries = graph.shape.at(-1) ?? 0;
  const full = [batch, queryHeads, queryLength, entries];
  checkBroadcast(where, 'graph', graph, 'i32', full, 1);
  checkBroadcast(where, 'bias', bias, 'f32', full);
  checkKeyMask(where, keyMask, batch, keyLength);
  checkKeyLengths(where, keyLengths, batch);
  return {
    ...extents,
    dtype,
    entries,
    graph: graph.shape,
    scale,
    causal,
    ...queryStartFor(where, { ...options, causal }, extents),
    ...(keyMask && { keyMask: keyMask.shape }),
    keyLengths: keyLengths !== undefined,
    ...(bias && { bias: bias.shape }),
    saves: false,
  };
}
