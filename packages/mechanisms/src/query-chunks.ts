import { type Backend, concat, narrow, recompute, scope, type Tensor } from '@topk-attention/core';
import type { MechanismCall, Run } from '@topk-attention/nn';

/**
 * Pairs of a query and a key, over all examples and heads, that are in memory at a time wherever the backend asks for no
 * more: 64 MiB for a tensor of their scores. Also the most that the backward pass keeps instead of computing them again.
 */
const PAIRS_AT_A_TIME = 2 ** 24;

/** Tensors of a chunk's pairs that are in memory at a time, with gradients: a part of a budget each. */
const TENSORS_AT_A_TIME = 8;

/**
 * Most pairs of a query and a key, over all examples and heads, that are in memory at a time. Smaller chunks take less
 * memory and more launches for the same work: the backend's limits say how large a tensor may be for that, and a run's
 * budget may allow less. Where a pair has more than one number, it is a bound of those numbers.
 */
export function pairsAtATime(
  { capabilities: { limits } }: Backend,
  { budgetBytes = Number.POSITIVE_INFINITY }: Pick<Run, 'budgetBytes'> = {},
): number {
  const tensorBytes = limits.chunkTensorBytes ?? 4 * PAIRS_AT_A_TIME;
  const most = Math.min(tensorBytes, limits.maxBufferBytes, budgetBytes / TENSORS_AT_A_TIME);
  return Math.max(1, Math.floor(most / 4));
}

/** Some of the queries: `size` from `start` on. */
export interface QueryChunk {
  readonly start: number;
  readonly size: number;
}

/** A call of some of the queries of another one. */
export interface ChunkCall extends MechanismCall {
  /** The place of the first query in the whole call. Default 0. */
  readonly firstQuery?: number;
}

/**
 * Chunks of about equal size, of at least one query each.
 *
 * @param perQuery numbers that a query takes, over all examples and heads
 * @param most numbers that a chunk may take
 */
export function chunksOf(queries: number, perQuery: number, most: number): readonly QueryChunk[] {
  const fitting = Math.max(1, Math.floor(most / Math.max(1, perQuery)));
  if (queries <= fitting) return [{ start: 0, size: queries }];
  const size = Math.ceil(queries / Math.ceil(queries / fitting));
  return Array.from({ length: Math.ceil(queries / size) }, (_, at) => ({
    start: at * size,
    size: Math.min(size, queries - at * size),
  }));
}

/** Pairs of a query, over all examples and heads. */
function perQuery({ query, key }: MechanismCall): number {
  const [batch, heads] = query.shape as readonly [number, number];
  return batch * heads * (key.shape[2] as number);
}

/** Chunks of a call that compares all queries with all keys. */
function pairChunks(call: MechanismCall, pairs: number): readonly QueryChunk[] {
  return chunksOf(call.query.shape[2] as number, perQuery(call), pairs);
}

/** Whether the backward pass may keep what the only chunk computed: the memory of all layers. */
function isKept([first, ...others]: readonly QueryChunk[], numbers: number): boolean {
  return others.length === 0 && (first?.size ?? 0) * numbers <= PAIRS_AT_A_TIME;
}

/** The place of the first query among the keys. */
export function startOf({ query, key, options }: MechanismCall): number {
  return options.queryStart ?? (key.shape[2] as number) - (query.shape[2] as number);
}

/** x [B, heads, Lq, n] of some queries. */
export function rowsOfQueries(x: Tensor, { start, size }: QueryChunk): Tensor {
  return narrow(x, 2, start, size);
}

/** A mask or a bias of some queries; an extent of 1 is that of all. */
function broadcastRows(x: Tensor, chunk: QueryChunk): Tensor {
  return x.shape[2] === 1 ? x : rowsOfQueries(x, chunk);
}

function callOfChunk(call: MechanismCall, chunk: QueryChunk): ChunkCall {
  const { mask, bias } = call.options;
  return {
    ...call,
    query: rowsOfQueries(call.query, chunk),
    options: {
      ...call.options,
      ...(mask && { mask: broadcastRows(mask, chunk) }),
      ...(bias && { bias: broadcastRows(bias, chunk) }),
      queryStart: startOf(call) + chunk.start,
    },
    firstQuery: chunk.start,
  };
}

/**
 * What `attend` gives for all queries, [B, heads, Lq, D], some of them at a time. Several chunks, or a large one, are computed
 * again in the backward pass (core's `recompute`), so that the scores of one chunk alone are in memory, and between the
 * passes those of none.
 *
 * @param attend uses no tensors that a layer made but those of its call
 * @param pairs most pairs of a chunk
 */
export function attendInChunks(
  call: MechanismCall,
  attend: (call: ChunkCall) => Tensor,
  pairs: number = pairsAtATime(call.query.backend, call.context),
): Tensor {
  const chunks = pairChunks(call, pairs);
  const { query, key, value, options } = call;
  if (isKept(chunks, perQuery(call))) return attend(call);
  return joined(chunks, { query, key, value, options }, (given, chunk) =>
    attend(callOfChunk({ ...call, ...given }, chunk)),
  );
}

/** The results of all chunks, each computed again in the backward pass. */
function joined<Inputs extends { readonly query: Tensor }>(
  chunks: readonly QueryChunk[],
  inputs: Inputs,
  attend: (inputs: Inputs, chunk: QueryChunk) => Tensor,
): Tensor {
  const parts = chunks.map((chunk) =>
    recompute((given: Inputs) => {
      // One chunk's work is started before the next one's is recorded.
      given.query.backend.flush();
      return attend(given, chunk);
    }, inputs),
  );
  return concat(parts, 2);
}

/** Queries [B, heads, Lq, d] and a graph of them [B, heads, Lq, M], with what else is needed whole. */
export interface Listed {
  readonly query: Tensor;
  readonly graph: Tensor;
  readonly [name: string]: Tensor;
}

/**
 * The same for graphs: `attend` gathers a row of `width` numbers for each listed key, of some queries at a time.
 *
 * @param attend [B, heads, Lq, D] of the queries of its inputs; uses no other tensors that a layer made
 * @param most numbers that are gathered at a time
 */
export function attendListed<Inputs extends Listed>(
  inputs: Inputs,
  width: number,
  attend: (inputs: Inputs) => Tensor,
  most: number = pairsAtATime(inputs.query.backend),
): Tensor {
  const [batch, heads, queries, slots] = inputs.graph.shape as readonly [number, number, number, number];
  const numbers = batch * heads * slots * width;
  const chunks = chunksOf(queries, numbers, most);
  if (isKept(chunks, numbers)) return attend(inputs);
  return joined(chunks, inputs, (given, chunk) => {
    const own = { query: rowsOfQueries(given.query, chunk), graph: rowsOfQueries(given.graph, chunk) };
    return attend({ ...given, ...own });
  });
}

/**
 * What `body` makes of each chunk of the queries. For what has no gradient.
 *
 * @param pairs most pairs of a chunk
 */
export function mapPairChunks<R extends readonly Tensor[]>(
  call: MechanismCall,
  body: (call: ChunkCall, chunk: QueryChunk) => R,
  pairs: number = pairsAtATime(call.query.backend, call.context),
): readonly R[] {
  return pairChunks(call, pairs).map((chunk) => {
    call.query.backend.flush();
    return scope(() => body(callOfChunk(call, chunk), chunk));
  });
}
