import { type AttentionRequest, philoxKey, relativePositionBucket } from '@topk-attention/core';
import { type Window, windowOf } from '../../primitives/windows.js';
import { f32Bits, type Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import type { ForwardViews } from '../forward-path.js';
import { type RowBlock, rowsOf } from './candidates.js';

/** What the text of a kernel that scores keys depends on. */
export interface ScoreVariant {
  readonly headDim: number;
  /** q and k (and v and the output) stored as f16. */
  readonly half: boolean;
  readonly relative: boolean;
  readonly keyLengths: boolean;
  readonly causal: boolean;
}

export function scoreVariantOf(request: AttentionRequest): ScoreVariant {
  return {
    headDim: request.headDim,
    half: request.dtype === 'f16',
    relative: request.relativeBias !== undefined,
    keyLengths: request.keyLengths,
    causal: request.causal,
  };
}

export function variantKey(variant: ScoreVariant): string {
  const flags = (['half', 'relative', 'keyLengths', 'causal'] as const).filter((name) => variant[name]);
  return [`d${variant.headDim}`, ...flags].join(' ');
}

/** The bindings of a block: only its heads, so that tensors larger than a binding can be used head by head. */
export interface BlockWindows {
  readonly q: Window;
  readonly k: Window;
  readonly v: Window;
  readonly output: Window;
  readonly indices?: Window;
  readonly scores?: Window;
}

/** Key heads of a block, batch and head as one number. */
export function keyHeadsOf(
  request: AttentionRequest,
  { headStart, headCount }: RowBlock,
): { readonly start: number; readonly count: number } {
  const group = request.queryHeads / request.keyHeads;
  const start = Math.floor(headStart / group);
  return { start, count: Math.floor((headStart + headCount - 1) / group) + 1 - start };
}

export function blockWindows(request: AttentionRequest, views: ForwardViews, block: RowBlock): BlockWindows {
  const { queryLength, keyLength, headDim, valueDim } = request;
  const keys = keyHeadsOf(request, block);
  const ofQueries = (width: number): [number, number] => [
    block.headStart * queryLength * width,
    block.headCount * queryLength * width,
  ];
  const ofKeys = (width: number): [number, number] => [
    keys.start * keyLength * width,
    keys.count * keyLength * width,
  ];
  const slots = request.k === 'all' ? 0 : request.k;
  return {
    q: windowOf(views.q, ...ofQueries(headDim)),
    k: windowOf(views.k, ...ofKeys(headDim)),
    v: windowOf(views.v, ...ofKeys(valueDim)),
    output: windowOf(views.output, ...ofQueries(valueDim)),
    ...(views.indices && { indices: windowOf(views.indices, ...ofQueries(slots)) }),
    ...(views.scores && { scores: windowOf(views.scores, ...ofQueries(slots)) }),
  };
}

/**
 * Small inputs in one buffer, as kernels have few bindings: the key lengths [B], the bucket of every relative position
 * from -reach to reach, the relative table [buckets, Hq].
 */
export interface Tables {
  readonly span: Span;
  readonly bucketsAt: number;
  readonly reach: number;
  readonly tableAt: number;
}

/** Undefined where no variant of the request reads it. The caller releases `span`. */
export function recordTables(
  stream: Stream,
  request: AttentionRequest,
  { keyLengths, relativeTable }: ForwardViews,
): Tables | undefined {
  const { relativeBias, keyLength, queryLength, batch, queryHeads } = request;
  const table = relativeBias === undefined ? undefined : relativeTable;
  if (keyLengths === undefined && (table === undefined || relativeBias === undefined)) return undefined;
  const bucketsAt = keyLengths === undefined ? 0 : batch;
  const reach = relativeBias === undefined ? 0 : Math.min(relativeBias.maxDistance, keyLength + queryLength);
  const tableAt = bucketsAt + (relativeBias === undefined ? 0 : 2 * reach + 1);
  const tableWords = relativeBias === undefined ? 0 : relativeBias.buckets * queryHeads;
  const span = stream.scratch(4 * (tableAt + tableWords));
  const part = (at: number, words: number): Span => ({
    buffer: span.buffer,
    offset: span.offset + 4 * at,
    size: 4 * words,
  });
  if (keyLengths !== undefined) stream.copy({ ...keyLengths.span, size: 4 * batch }, part(0, batch));
  if (table !== undefined && relativeBias !== undefined) {
    const buckets = Uint32Array.from({ length: 2 * reach + 1 }, (_, at) =>
      relativePositionBucket(at - reach, relativeBias),
    );
    stream.write(part(bucketsAt, buckets.length), new Uint8Array(buckets.buffer));
    stream.copy({ ...table.span, size: 4 * tableWords }, part(tableAt, tableWords));
  }
  return { span, bucketsAt, reach, tableAt };
}

/** The uniform block of every kernel of the finish. */
export const problemStruct = `
struct Problem {
  rows: u32, head_start: u32, query_start: u32, query_count: u32,
  query_heads: u32, heads_per_key_head: u32, query_length: u32, key_length: u32,
  q_base: u32, k_base: u32, v_base: u32, output_base: u32,
  indices_base: u32, scores_base: u32, key_head_start: u32, k: u32,
  scale: f32, buckets_at: u32, reach: i32, table_at: u32,
  drop_seed: vec2u, drop_threshold: u32, drop_factor: f32,
  slice_first: u32, slice_last: u32,
}
@group(0) @binding(0) var<uniform> problem: Problem;`;

export function problemWords(
  request: AttentionRequest,
  block: RowBlock,
  windows: BlockWindows,
  tables: Tables | undefined,
  slice: readonly [number, number] = [0, 0],
): number[] {
  const { dropout } = request;
  return [
    rowsOf(block),
    block.headStart,
    block.queryStart,
    block.queryCount,
    request.queryHeads,
    request.queryHeads / request.keyHeads,
    request.queryLength,
    request.keyLength,
    windows.q.base / 4,
    windows.k.base / 4,
    windows.v.base / 4,
    windows.output.base / 4,
    windows.indices?.base ?? 0,
    windows.scores?.base ?? 0,
    keyHeadsOf(request, block).start,
    request.k === 'all' ? 0 : request.k,
    f32Bits(request.scale),
    tables?.bucketsAt ?? 0,
    tables?.reach ?? 0,
    tables?.tableAt ?? 0,
    ...philoxKey(dropout?.seed ?? 0),
    dropout === undefined ? 0 : Math.floor(dropout.rate * 2 ** 32),
    f32Bits(dropout === undefined ? 1 : 1 / (1 - dropout.rate)),
    ...slice,
  ];
}
