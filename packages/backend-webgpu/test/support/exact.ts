import { type DType, sizeOf } from '@topk-attention/core';
import type { AttentionRequest } from '@topk-attention/core/backend';
import { type AttentionArrays, halfToNumber, referenceAttention } from '@topk-attention/core/reference';
import { recordExact } from '../../src/attention/exact/exact-path.js';
import { type DeviceFacts, deviceFacts } from '../../src/runtime/facts.js';
import type { Stream } from '../../src/runtime/stream.js';
import type { View } from '../../src/runtime/view.js';
import { viewsFor } from './attention-harness.js';

export const plainRequest: AttentionRequest = {
  batch: 1,
  queryHeads: 2,
  keyHeads: 2,
  queryLength: 9,
  keyLength: 9,
  headDim: 16,
  valueDim: 16,
  dtype: 'f32',
  k: 'all',
  scale: 0.25,
  causal: false,
  keyLengths: false,
  saves: false,
};

/** Numbers of about unit size, the same for equal seeds, exact in f16. */
export function numbers(count: number, seed: number): Float32Array {
  let state = (seed * 2654435761) >>> 0;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return ((state >>> 20) - 2048) / 1024;
  });
}

/** Tensors of a request, filled from a seed. */
export function arraysFor(request: AttentionRequest, seed = 1): AttentionArrays {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim } = request;
  const { mask, bias, relativeBias } = request;
  return {
    q: numbers(batch * queryHeads * queryLength * headDim, seed),
    k: numbers(batch * keyHeads * keyLength * headDim, seed + 1),
    v: numbers(batch * keyHeads * keyLength * valueDim, seed + 2),
    ...(mask && { mask: numbers(sizeOf(mask), seed + 3).map((x) => (x < 0.5 ? 1 : 0)) }),
    ...(request.keyLengths && {
      keyLengths: Int32Array.from({ length: batch }, (_, b) => Math.max(0, keyLength - 3 * b - 2)),
    }),
    ...(bias && { bias: numbers(sizeOf(bias), seed + 4) }),
    ...(relativeBias && { relativeTable: numbers(relativeBias.buckets * queryHeads, seed + 5) }),
  };
}

/** Other than what the device would get. */
export interface Choice {
  readonly facts?: DeviceFacts;
}

/** Bytes of the output; all scratch is given back. */
export async function runExact(
  stream: Stream,
  request: AttentionRequest,
  arrays: AttentionArrays,
  choice: Choice = {},
): Promise<Uint8Array> {
  const views = viewsFor(stream, request, arrays);
  const { facts = deviceFacts(stream.device) } = choice;
  recordExact(stream, request, views, facts);
  const bytes = await stream.read(views.output.span);
  for (const view of Object.values(views) as View[]) stream.release(view.span);
  return bytes;
}

export function floatsOf(bytes: Uint8Array, dtype: DType): Float32Array {
  if (dtype === 'f32') return new Float32Array(bytes.buffer);
  return Float32Array.from(new Uint16Array(bytes.buffer), halfToNumber);
}

/** The largest error against the reference, relative to 1; NaN must stand exactly where the reference has it. */
export async function errorOf(
  stream: Stream,
  request: AttentionRequest,
  arrays: AttentionArrays,
  choice: Choice = {},
): Promise<number> {
  const got = floatsOf(await runExact(stream, request, arrays, choice), request.dtype);
  const { output } = referenceAttention(request, arrays);
  let worst = 0;
  output.forEach((expected, at) => {
    const value = got[at] as number;
    if (Number.isNaN(expected) !== Number.isNaN(value)) worst = Number.POSITIVE_INFINITY;
    if (!Number.isNaN(expected))
      worst = Math.max(worst, Math.abs(value - expected) / (1 + Math.abs(expected)));
  });
  return worst;
}
