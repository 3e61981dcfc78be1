import { type Shape, sizeOf } from '@topk-attention/core';
import { type AttentionRequest, dropoutWords, groupSize, queryStartOf } from '@topk-attention/core/backend';
import { type Binding, windowOf } from '../../runtime/binding.js';
import type { View } from '../../runtime/view.js';
import type { UniformValues } from '../../wgsl/define-kernel.js';
import { relativeReach } from './relative-bias.js';

/**
 * The rows of one launch: queries `firstQuery ..` of query heads `firstHead ..`, where batch and head count as one,
 * b * Hq + h. Row r of the launch is head `firstHead + floor(r / queries)`, query `firstQuery + r mod queries`. Heads
 * are whole groups, so that the key heads they share are also a run, except for kernels that use `keyHeadOf`.
 */
export interface Part {
  readonly firstHead: number;
  readonly heads: number;
  readonly firstQuery: number;
  /** May go past the last query where rows are padded: nothing is read or written for the padding. */
  readonly queries: number;
}

/** Key heads of a part, with batch and key head as one number, b * Hkv + h. */
export function keyHeadsOf(
  request: AttentionRequest,
  { firstHead, heads }: Part,
): { readonly first: number; readonly count: number } {
  const group = groupSize(request);
  const first = Math.floor(firstHead / group);
  return { first, count: Math.floor((firstHead + heads - 1) / group) + 1 - first };
}

/** Keys that some query of the part can see, ignoring masks and lengths. */
export function visibleKeys(request: AttentionRequest, { firstQuery, queries }: Part): number {
  const { causal, keyLength } = request;
  if (!causal) return keyLength;
  return Math.max(0, Math.min(keyLength, firstQuery + queries + queryStartOf(request)));
}

/** Runs of at most `size` that cover `count`. */
export function runsOf(
  count: number,
  size: number,
): readonly { readonly first: number; readonly count: number }[] {
  return Array.from({ length: Math.ceil(count / size) }, (_, at) => ({
    first: at * size,
    count: Math.min(size, count - at * size),
  }));
}

/** Parts of at most `heads` heads and `queries` queries; `inner` varies fastest. */
export function partsOf(
  { batch, queryHeads, queryLength }: AttentionRequest,
  heads: number,
  queries: number,
  inner: 'heads' | 'queries' = 'heads',
): readonly Part[] {
  const headRuns = runsOf(batch * queryHeads, heads);
  const queryRuns = runsOf(queryLength, queries);
  const part = (ofHeads: (typeof headRuns)[number], ofQueries: (typeof queryRuns)[number]): Part => ({
    firstHead: ofHeads.first,
    heads: ofHeads.count,
    firstQuery: ofQueries.first,
    queries: ofQueries.count,
  });
  return inner === 'heads'
    ? queryRuns.flatMap((ofQueries) => headRuns.map((ofHeads) => part(ofHeads, ofQueries)))
    : headRuns.flatMap((ofHeads) => queryRuns.map((ofQueries) => part(ofHeads, ofQueries)));
}

/** Rows of [B, Hq, Lq, width] that a part reads or writes, and everything between them. */
export function queryWindow(view: View, request: AttentionRequest, part: Part): Binding {
  const width = view.shape[3] as number;
  const { queryLength } = request;
  const first = part.firstHead * queryLength + part.firstQuery;
  const count = (part.heads - 1) * queryLength + Math.min(part.queries, queryLength - part.firstQuery);
  return windowOf(view, first * width, count * width);
}

/** Rows of [B, Hkv, Lk, width] that a part reads. */
export function keyWindow(view: View, request: AttentionRequest, part: Part): Binding {
  const width = view.shape[3] as number;
  const { first, count } = keyHeadsOf(request, part);
  return windowOf(view, first * request.keyLength * width, count * request.keyLength * width);
}

/** Elements from one index to the next along each axis, 0 where a single index serves all. */
function broadcastStrides(shape: Shape | undefined): readonly number[] {
  if (shape === undefined) return [0, 0, 0, 0];
  return shape.map((extent, axis) => (extent === 1 ? 0 : sizeOf(shape.slice(axis + 1))));
}

/** Uniforms shared by the launches of one part. */
export const geometryUniforms = {
  query_length: 'u32',
  key_length: 'u32',
  query_heads: 'u32',
  group: 'u32',
  first_head: 'u32',
  heads: 'u32',
  first_query: 'u32',
  queries: 'u32',
  visible_keys: 'u32',
  scale: 'f32',
  reach: 'u32',
  query_start: 'i32',
  dropout_threshold: 'u32',
  kept_scale: 'f32',
  seed: 'vec2u',
  mask_stride: 'vec4u',
  bias_stride: 'vec4u',
} as const;

export type PartGeometry = UniformValues<typeof geometryUniforms>;

/** The values of `geometryUniforms` for a part. */
export function geometryOf(request: AttentionRequest, part: Part): PartGeometry {
  const { key, threshold, keptScale } = dropoutWords(request.dropout);
  return {
    query_length: request.queryLength,
    key_length: request.keyLength,
    query_heads: request.queryHeads,
    group: groupSize(request),
    first_head: part.firstHead,
    heads: part.heads,
    first_query: part.firstQuery,
    queries: part.queries,
    visible_keys: visibleKeys(request, part),
    scale: request.scale,
    reach: relativeReach(request),
    query_start: queryStartOf(request),
    dropout_threshold: threshold,
    kept_scale: keptScale,
    seed: key,
    mask_stride: broadcastStrides(request.mask),
    bias_stride: broadcastStrides(request.bias),
  };
}

/** `row_at(row)`: which query a row of the part is. Needs `geometryUniforms`. */
export const rowAt = `
struct Row { local_head: u32, batch: u32, head: u32, query: u32, local_query: u32 }

fn row_at(row: u32) -> Row {
  let local_head = row / params.queries;
  let local_query = row % params.queries;
  let head = params.first_head + local_head;
  let batch = head / params.query_heads;
  return Row(local_head, batch, head % params.query_heads, params.first_query + local_query, local_query);
}`;

/**
 * `key_head_of(local_head)`: the key head of a head of the part, from the first that the part binds. Where heads are whole
 * groups that is `local_head / params.group`.
 */
export const keyHeadOf = `
fn key_head_of(local_head: u32) -> u32 {
  return (params.first_head + local_head) / params.group - params.first_head / params.group;
}`;
