import { type AttentionRequest, queryStartOf, relativeBuckets } from '@topk-attention/core/backend';
import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import type { View } from '../../runtime/view.js';
import { defineKernel, read, write } from '../../wgsl/define-kernel.js';
import { forEachElement } from '../../wgsl/text.js';

/**
 * Longest reach of the relative bias: all keys farther away share the outermost bucket. It does not depend on where
 * queries stand among the keys, so a decoder's steps need the same buffers and kernels.
 */
export function relativeReach(request: AttentionRequest): number {
  const { relativeBias, queryLength, keyLength } = request;
  if (relativeBias === undefined) return 0;
  return Math.min(relativeBias.maxDistance, queryLength + Math.max(keyLength, queryStartOf(request)));
}

/** Queries farther behind the last key should not pay for the biases of all positions in between: a choice. */
const LARGEST_GAP = 2 ** 16;

/** Why the fused operations do not take the query positions of a request: they list biases by position. */
export function relativeRefusals(request: AttentionRequest): readonly string[] {
  const gap = queryStartOf(request) - request.keyLength;
  if (request.relativeBias === undefined || gap <= LARGEST_GAP) return [];
  return [`a relative bias and queries more than ${LARGEST_GAP} positions behind the last key`];
}

/** The bucket of each key position minus query position, from -reach to reach; empty without a relative bias. */
export function bucketsOfPositions(request: AttentionRequest): Int32Array {
  const { relativeBias } = request;
  if (relativeBias === undefined) return new Int32Array();
  const reach = relativeReach(request);
  const key = JSON.stringify({ ...relativeBias, reach });
  if (latest?.key !== key) latest = { key, buckets: relativeBuckets(relativeBias, -reach, 2 * reach + 1) };
  return latest.buckets;
}

/** Buckets of the last call: every layer of a model, and every step of a decoder, asks for the same ones. */
let latest: { readonly key: string; readonly buckets: Int32Array } | undefined;

/** Bytes of `bucketsOfPositions`, one word per position. */
export function positionBytes(request: AttentionRequest): number {
  return request.relativeBias === undefined ? 0 : 4 * (2 * relativeReach(request) + 1);
}

/** `bucketsOfPositions` in a buffer, and the reach. */
export interface PositionBuckets {
  readonly buckets: Span;
  readonly farthest: number;
}

/** The caller releases `buckets`. */
export function recordBucketsOfPositions(stream: Stream, request: AttentionRequest): PositionBuckets {
  const words = bucketsOfPositions(request);
  const buckets = stream.scratch(words.byteLength);
  stream.write(buckets, new Uint8Array(words.buffer));
  return { buckets, farthest: relativeReach(request) };
}

const vectorsKernel = defineKernel({
  key: 'attention relative-vector',
  uniforms: { width: 'u32', heads: 'u32', count: 'u32' },
  buffers: { buckets: read('u32'), table: read('u32'), vectors: write('u32') },
  workgroup: 64,
  source: () =>
    forEachElement('vectors[at] = table[buckets[at % params.width] * params.heads + at / params.width];'),
});

/** Bytes of the vectors of `recordRelativeVectors`; 0 without a relative bias. */
export function vectorBytes(request: AttentionRequest): number {
  return request.queryHeads * positionBytes(request);
}

/** Bytes of `recordRelativeVectors`, including its transient ones. */
export function relativeBytes(request: AttentionRequest): number {
  return vectorBytes(request) + positionBytes(request);
}

/**
 * f32 [Hq, 2 reach + 1]: the bias of each head by key position minus query position, from -reach to reach, beyond which
 * it stays the same. Undefined for a request without a relative bias. Release it after its last user.
 *
 * @param positions buckets that are there already
 */
export function recordRelativeVectors(
  stream: Stream,
  request: AttentionRequest,
  table: View | undefined,
  positions?: PositionBuckets,
): Span | undefined {
  if (request.relativeBias === undefined || table === undefined) return undefined;
  const { queryHeads } = request;
  const { buckets, farthest } = positions ?? recordBucketsOfPositions(stream, request);
  const width = 2 * farthest + 1;
  const vectors = stream.scratch(4 * width * queryHeads);
  const count = width * queryHeads;
  vectorsKernel.launch(stream, {
    uniforms: { width, heads: queryHeads, count },
    buffers: { buckets, table: table.span, vectors },
    workgroups: { invocations: count },
  });
  if (positions === undefined) stream.release(buckets);
  return vectors;
}

/** `relative_bias(row, key)`, from the vectors of `recordRelativeVectors`. Needs `rowAt`. */
export const relativeBiasOf = `
fn relative_bias(row: Row, key: u32) -> f32 {
  let reach = i32(params.reach);
  let distance = i32(key) - i32(row.query) - params.query_start;
  return relative[row.head * (2u * params.reach + 1u) + u32(clamp(distance, -reach, reach) + reach)];
}`;
