import { type Shape, sizeOf } from '@topk-attention/core';
import { type AttentionRequest, philoxKey } from '@topk-attention/core/backend';
import { type Window, windowOf } from '../primitives/windows.js';
import { f32Bits, uniformWords } from '../runtime/kernel.js';
import type { View } from '../view.js';
import type { ForwardViews } from './forward-path.js';

/**
 * The rows of one launch: queries `firstQuery ..` of query heads `firstHead ..`, where batch and head count as one,
 * b * Hq + h. Heads are whole groups, so that the key heads they share are a run as well. Row r of the launch is head
 * `firstHead + floor(r / queries)`, query `firstQuery + r mod queries`.
 */
export interface Part {
  readonly firstHead: number;
  readonly heads: number;
  readonly firstQuery: number;
  readonly queries: number;
}

/** Query heads that share a key head. */
export function groupOf({ queryHeads, keyHeads }: AttentionRequest): number {
  return queryHeads / keyHeads;
}

/** Keys that some query of the part can see, masks and lengths aside. */
export function visibleKeys(request: AttentionRequest, { firstQuery, queries }: Part): number {
  const { causal, keyLength, queryLength } = request;
  if (!causal) return keyLength;
  return Math.max(0, Math.min(keyLength, firstQuery + queries + keyLength - queryLength));
}

/** Parts of at most `heads` heads and `queries` queries, heads innermost. */
export function partsOf(request: AttentionRequest, heads: number, queries: number): readonly Part[] {
  const { batch, queryHeads, queryLength } = request;
  const parts: Part[] = [];
  for (let firstQuery = 0; firstQuery < queryLength; firstQuery += queries) {
    for (let firstHead = 0; firstHead < batch * queryHeads; firstHead += heads) {
      parts.push({
        firstHead,
        heads: Math.min(heads, batch * queryHeads - firstHead),
        firstQuery,
        queries: Math.min(queries, queryLength - firstQuery),
      });
    }
  }
  return parts;
}

/** Rows of [B, Hq, Lq, width] that a part reads or writes, and the run between them. */
export function queryWindow(view: View, request: AttentionRequest, part: Part): Window {
  const width = view.shape[3] as number;
  const first = part.firstHead * request.queryLength + part.firstQuery;
  const count = (part.heads - 1) * request.queryLength + part.queries;
  return windowOf(view, first * width, count * width);
}

/** Rows of [B, Hkv, Lk, width] that a part reads. */
export function keyWindow(view: View, request: AttentionRequest, part: Part): Window {
  const width = view.shape[3] as number;
  const group = groupOf(request);
  const first = (part.firstHead / group) * request.keyLength;
  const count = (part.heads / group) * request.keyLength;
  return windowOf(view, first * width, count * width);
}

/** What the launches of one part share in their uniform block; see `geometryStruct`. */
export interface Geometry {
  readonly request: AttentionRequest;
  readonly part: Part;
  /** Offsets of the first row in elements of each binding. */
  readonly bases?: {
    readonly q?: number;
    readonly k?: number;
    readonly v?: number;
    readonly output?: number;
  };
  /** Where the lists of the part lie: rows from head to head, and the first row. Default: one after the other. */
  readonly lists?: {
    readonly rowsPerHead: number;
    readonly indicesBase: number;
    readonly scoresBase: number;
  };
  /** Words for the kernel's own use, at most eight. */
  readonly own?: readonly number[];
}

/** Longest reach of the relative bias: all keys farther away share the outermost bucket. */
export function relativeReach({ relativeBias, queryLength, keyLength }: AttentionRequest): number {
  return relativeBias === undefined ? 0 : Math.min(relativeBias.maxDistance, queryLength + keyLength);
}

/** Elements from one index to the next along each axis, 0 where the only index serves all. */
function broadcastStrides(shape: Shape | undefined): readonly number[] {
  if (shape === undefined) return [0, 0, 0, 0];
  return shape.map((extent, axis) => (extent === 1 ? 0 : sizeOf(shape.slice(axis + 1))));
}

/** The uniform block of `geometryStruct`. */
export function geometryWords({ request, part, bases = {}, lists, own = [] }: Geometry): Uint32Array {
  const { dropout } = request;
  const [seedLow, seedHigh] = philoxKey(dropout?.seed ?? 0);
  const rate = dropout?.rate ?? 0;
  return uniformWords([
    ...[request.queryLength, request.keyLength, request.queryHeads, groupOf(request)],
    ...[part.firstHead, part.heads, part.firstQuery, part.queries],
    ...[bases.q ?? 0, bases.k ?? 0, bases.v ?? 0, bases.output ?? 0],
    ...[f32Bits(request.scale), relativeReach(request)],
    ...[lists?.rowsPerHead ?? part.queries, 0],
    ...broadcastStrides(request.mask),
    ...broadcastStrides(request.bias),
    ...[seedLow, seedHigh, Math.floor(rate * 2 ** 32), f32Bits(1 / (1 - rate))],
    ...[lists?.indicesBase ?? 0, lists?.scoresBase ?? 0, visibleKeys(request, part), 0],
    ...own,
    ...Array.from({ length: 8 - own.length }, () => 0),
  ]);
}

/** `Geometry` and `row_at`: which query a row of the part is. */
export const geometryStruct = `
struct Geometry {
  query_length: u32, key_length: u32, query_heads: u32, group: u32,
  first_head: u32, heads: u32, first_query: u32, queries: u32,
  q_base: u32, k_base: u32, v_base: u32, out_base: u32,
  scale: f32, reach: u32, list_rows_per_head: u32, unused_0: u32,
  mask_stride: vec4u,
  bias_stride: vec4u,
  seed: vec2u, dropout_threshold: u32, kept_scale: f32,
  indices_base: u32, scores_base: u32, visible_keys: u32, unused_1: u32,
  own: vec4u,
  more: vec4u,
}
@group(0) @binding(0) var<uniform> geometry: Geometry;

struct Row { local_head: u32, batch: u32, head: u32, query: u32, local_query: u32 }

fn row_at(row: u32) -> Row {
  let local_head = row / geometry.queries;
  let local_query = row % geometry.queries;
  let head = geometry.first_head + local_head;
  let batch = head / geometry.query_heads;
  return Row(local_head, batch, head % geometry.query_heads, geometry.first_query + local_query, local_query);
}`;

/** `visible_of(row)`: keys from this one on are hidden from the query, by causality or by the sequence's length. */
export function visibleOf(causal: boolean, keyLengths: boolean): string {
  return `
fn visible_of(row: Row) -> u32 {
  var visible = geometry.key_length;
  ${causal ? 'visible = min(visible, u32(max(0, i32(row.query + 1u + geometry.key_length) - i32(geometry.query_length))));' : ''}
  ${keyLengths ? 'visible = min(visible, u32(max(0, key_lengths[row.batch])));' : ''}
  return visible;
}`;
}

/** `relative_bias(row, key)`, from the vectors of `recordRelativeVectors`. */
export const relativeBiasOf = `
fn relative_bias(row: Row, key: u32) -> f32 {
  let reach = i32(geometry.reach);
  let distance = i32(key + geometry.query_length) - i32(row.query + geometry.key_length);
  return relative[row.head * (2u * geometry.reach + 1u) + u32(clamp(distance, -reach, reach) + reach)];
}`;

/** Declarations of storage buffers at bindings 1, 2, ... */
export function bindings(declarations: readonly string[]): string {
  return declarations.map((text, at) => `@group(0) @binding(${at + 1}) var<storage, ${text};`).join('\n');
}

/** The tensors of the options that a request has, in a fixed order: what `optionBindings` declares. */
export function optionSpans(
  views: ForwardViews,
  relative: { readonly span: View['span'] } | undefined,
): readonly View['span'][] {
  return [views.keyLengths, views.mask, views.bias, relative].flatMap((one) =>
    one === undefined ? [] : [one.span],
  );
}

/** Options that a kernel cannot bind whole. */
export function optionRefusals(
  { mask, bias }: AttentionRequest,
  { bindingBytes }: { readonly bindingBytes: number },
): string[] {
  return Object.entries({ mask, bias }).flatMap(([name, shape]) =>
    shape !== undefined && 4 * sizeOf(shape) > bindingBytes
      ? [`the ${name} exceeds a binding of ${bindingBytes} bytes`]
      : [],
  );
}
