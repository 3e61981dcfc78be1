import type { LinearAttentionRequest } from '@topk-attention/core/backend';
import { LARGEST_GRID } from '../runtime/kernel.js';

/** Keys whose sums are made together, and columns of a workgroup. Chunks hold whole tiles. */
export const TILE = 32;

/** Tokens of a chunk of causal attention, whose pairs within it are computed; of any other, the fewest. */
const CHUNK = 128;

/** Without causality, workgroups of a launch that sums chunks: about eight on each of the units of a large GPU. */
const WORKGROUPS = 1024;

/**
 * Most bytes of the sums of a segment's chunks, of causal attention, provided that those of one chunk are fewer: every device
 * binds as much. The workgroups of any other sum less.
 */
const SUMS_BYTES = 2 ** 26;

/** Sequences times key heads. */
export const groupsOf = ({ batch, keyHeads }: LinearAttentionRequest): number => batch * keyHeads;

/** Values and the column of ones that sums the weights. */
export const columnsOf = ({ valueDim }: LinearAttentionRequest): number => valueDim + 1;

/** Bytes of the sums over the keys of one chunk, or of all: [N, F, Dv + 1]. */
export const sumsBytes = (request: LinearAttentionRequest): number =>
  4 * groupsOf(request) * request.features * columnsOf(request);

/** Tiles of columns. One column beyond whole tiles belongs to the last of them. */
export const columnTiles = (columns: number, tile: number): number =>
  columns > tile && columns % tile === 1 ? Math.floor(columns / tile) : Math.ceil(columns / tile);

/** Features of a workgroup that sums chunks. */
export const featureTile = (features: number): 32 | 64 => (features > 32 ? 64 : 32);

/** Workgroups that sum a chunk of a group. */
export const sumTiles = (request: LinearAttentionRequest): number =>
  Math.ceil(request.features / featureTile(request.features)) * columnTiles(columnsOf(request), TILE);

/** Consecutive keys that are worked on together, cut into chunks. */
export interface Segment {
  readonly start: number;
  readonly end: number;
  /** Keys per chunk; the last may have fewer. */
  readonly chunk: number;
  readonly chunks: number;
}

/** Tokens of a segment: as many as are asked for, unless the sums of causal attention take too many bytes or workgroups. */
function segmentLength(request: LinearAttentionRequest, tokens: number): number {
  if (!request.causal) return tokens;
  const chunks = Math.max(1, Math.floor(SUMS_BYTES / sumsBytes(request)));
  return Math.min(tokens, CHUNK * Math.min(chunks, LARGEST_GRID));
}

/** Tokens of a segment if no number is asked for. */
export const preferredSegment = (request: LinearAttentionRequest): number =>
  segmentLength(request, Math.max(request.queryLength, request.keyLength));

/**
 * Keys of a chunk. Without causality only the sum over all chunks is read: there are as many as keep a large GPU busy, of
 * the same length in every segment.
 */
function chunkOf(request: LinearAttentionRequest): number {
  if (request.causal) return CHUNK;
  const chunks = Math.ceil(WORKGROUPS / Math.max(1, sumTiles(request) * groupsOf(request)));
  return Math.max(CHUNK, TILE * Math.ceil(request.keyLength / chunks / TILE));
}

/** Chunks of a segment of that many tokens. */
export const chunksIn = (request: LinearAttentionRequest, tokens: number): number =>
  Math.ceil(Math.min(segmentLength(request, tokens), request.keyLength) / chunkOf(request));

export function segmentsOf(request: LinearAttentionRequest, tokens: number): Segment[] {
  const { keyLength } = request;
  const chunk = chunkOf(request);
  const length = segmentLength(request, tokens);
  const segments: Segment[] = [];
  for (let start = 0; start < keyLength; start += length) {
    const end = Math.min(keyLength, start + length);
    segments.push({ start, end, chunk, chunks: Math.ceil((end - start) / chunk) });
  }
  return segments;
}

/** The same call as its backward pass without causality sees it, where queries are cut by their own positions. */
export const ofQueries = (request: LinearAttentionRequest): LinearAttentionRequest => ({
  ...request,
  keyLength: request.queryLength,
});

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
