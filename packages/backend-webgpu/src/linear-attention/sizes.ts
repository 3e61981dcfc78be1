import type { LinearAttentionRequest } from '@topk-attention/core/backend';

/** Keys whose sums are made together, and queries of a workgroup. Chunks hold whole tiles. */
export const TILE = 32;
const CHUNK = 128;

/** Target bytes of the sums of a segment's chunks. */
const SUMS_BYTES = 2 ** 26;

/** Sequences times key heads. */
export const groupsOf = ({ batch, keyHeads }: LinearAttentionRequest): number => batch * keyHeads;

/** Values and the column of ones that sums the weights. */
export const columnsOf = ({ valueDim }: LinearAttentionRequest): number => valueDim + 1;

/** Bytes of the sums over the keys of one chunk, or of all: [N, F, Dv + 1]. */
export const sumsBytes = (request: LinearAttentionRequest): number =>
  4 * groupsOf(request) * request.features * columnsOf(request);

/** Consecutive keys that are worked on together, cut into chunks. */
export interface Segment {
  readonly start: number;
  readonly end: number;
  /** Keys per chunk; the last may have fewer. */
  readonly chunk: number;
  readonly chunks: number;
}

/** Tokens of a segment whose sums stay within the target. */
export function preferredSegment(request: LinearAttentionRequest): number {
  const length = Math.max(request.queryLength, request.keyLength);
  const chunks = Math.max(1, Math.floor(SUMS_BYTES / sumsBytes(request)));
  return Math.min(length, chunks * CHUNK);
}

/** Chunks of a segment of that many tokens. */
export const chunksIn = (tokens: number): number => Math.ceil(tokens / CHUNK);

export function segmentsOf({ keyLength }: LinearAttentionRequest, tokens: number): Segment[] {
  const segments: Segment[] = [];
  for (let start = 0; start < keyLength; start += tokens) {
    const end = Math.min(keyLength, start + tokens);
    segments.push({ start, end, chunk: CHUNK, chunks: chunksIn(end - start) });
  }
  return segments;
}

/** Position of query 0 among the keys. */
export const firstPosition = ({ queryLength, keyLength }: LinearAttentionRequest): number =>
  keyLength - queryLength;

/**
 * Queries that see the sums before a segment and keys of it: those at its positions, and in the first segment those before
 * the first key.
 */
export function queriesOf(
  request: LinearAttentionRequest,
  { start, end }: Segment,
): { readonly first: number; readonly count: number } {
  const offset = firstPosition(request);
  const first = Math.max(0, start === 0 ? 0 : start - offset);
  return { first, count: Math.max(0, Math.min(request.queryLength, end - offset) - first) };
}
