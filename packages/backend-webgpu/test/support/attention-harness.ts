import { type DType, type Shape, sizeOf } from '@topk-attention/core';
import type { AttentionRequest } from '@topk-attention/core/backend';
import {
  type AttentionArrays,
  halfToNumber,
  numberToHalf,
  referenceAttention,
} from '@topk-attention/core/reference';
import { expect } from 'vitest';
import type { ForwardPath, ForwardViews } from '../../src/attention/shared/forward-path.js';
import type { Stream } from '../../src/runtime/stream.js';
import { storageBytes, type View } from '../../src/runtime/view.js';

/** A request from what is special about it. */
export function requestWith(special: Partial<AttentionRequest>): AttentionRequest {
  const { queryHeads = 2, queryLength = 9, headDim = 16 } = special;
  return {
    batch: 1,
    queryHeads,
    keyHeads: queryHeads,
    queryLength,
    keyLength: queryLength,
    headDim,
    valueDim: headDim,
    dtype: 'f32',
    k: 4,
    scale: 0.25,
    causal: false,
    keyLengths: false,
    saves: true,
    ...special,
  };
}

/** Numbers from -2 to 2 in steps of 1/`steps`, the same for equal seeds. */
export function numbers(count: number, seed: number, steps: number): Float32Array {
  let state = (seed * 2654435761) >>> 0;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.round(((state >>> 8) / 2 ** 24) * 4 * steps - 2 * steps) / steps;
  });
}

/**
 * Tensors of a request, filled from a seed. Scores are exactly representable, with many ties: every implementation has
 * to keep the same keys.
 */
export function arraysFor(request: AttentionRequest, seed = 1): AttentionArrays {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim } = request;
  const { mask, bias, relativeBias } = request;
  return {
    q: numbers(batch * queryHeads * queryLength * headDim, seed, 2),
    k: numbers(batch * keyHeads * keyLength * headDim, seed + 1, 2),
    v: numbers(batch * keyHeads * keyLength * valueDim, seed + 2, 64),
    ...(mask && { mask: numbers(sizeOf(mask), seed + 3, 8).map((x) => (x < 0.5 ? 1 : 0)) }),
    ...(request.keyLengths && {
      keyLengths: Int32Array.from({ length: batch }, (_, b) => Math.max(0, keyLength - 7 * b - 2)),
    }),
    ...(bias && { bias: numbers(sizeOf(bias), seed + 4, 8) }),
    ...(relativeBias && { relativeTable: numbers(relativeBias.buckets * queryHeads, seed + 5, 8) }),
  };
}

function viewOf(stream: Stream, values: ArrayLike<number>, shape: Shape, dtype: DType): View {
  const data = new Uint8Array(storageBytes(shape, dtype));
  if (dtype === 'f32') new Float32Array(data.buffer).set(values);
  else if (dtype === 'i32') new Int32Array(data.buffer).set(values);
  else if (dtype === 'bool') new Uint32Array(data.buffer).set(values);
  else new Uint16Array(data.buffer).set(Array.from(values, numberToHalf));
  const span = stream.scratch(data.byteLength);
  stream.write(span, data);
  return { span: { ...span, size: data.byteLength }, shape, dtype };
}

/** Outputs begin as rubbish, so that what is not written shows. */
function blankView(stream: Stream, shape: Shape, dtype: DType): View {
  const size = storageBytes(shape, dtype);
  const span = { ...stream.scratch(size), size };
  stream.write(span, new Uint8Array(size).fill(0x55));
  return { span, shape, dtype };
}

export function viewsFor(stream: Stream, request: AttentionRequest, arrays: AttentionArrays): ForwardViews {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim, dtype, k } = request;
  const { mask, bias, relativeBias } = request;
  const list = [batch, queryHeads, queryLength, k === 'all' ? 0 : k];
  return {
    q: viewOf(stream, arrays.q, [batch, queryHeads, queryLength, headDim], dtype),
    k: viewOf(stream, arrays.k, [batch, keyHeads, keyLength, headDim], dtype),
    v: viewOf(stream, arrays.v, [batch, keyHeads, keyLength, valueDim], dtype),
    ...(mask && arrays.mask && { mask: viewOf(stream, arrays.mask, mask, 'bool') }),
    ...(arrays.keyLengths && { keyLengths: viewOf(stream, arrays.keyLengths, [batch], 'i32') }),
    ...(bias && arrays.bias && { bias: viewOf(stream, arrays.bias, bias, 'f32') }),
    ...(relativeBias &&
      arrays.relativeTable && {
        relativeTable: viewOf(stream, arrays.relativeTable, [relativeBias.buckets, queryHeads], 'f32'),
      }),
    output: blankView(stream, [batch, queryHeads, queryLength, valueDim], dtype),
    ...(request.saves && {
      indices: blankView(stream, list, 'i32'),
      scores: blankView(stream, list, 'f32'),
    }),
  };
}

export interface Answer {
  readonly output: Float32Array;
  readonly indices: Int32Array;
  readonly scores: Float32Array;
}

/** Runs a path; all scratch is given back. */
export async function runPath(
  stream: Stream,
  path: ForwardPath,
  request: AttentionRequest,
  arrays: AttentionArrays,
  chunk: number = request.queryLength,
): Promise<Answer> {
  const views = viewsFor(stream, request, arrays);
  path.record(stream, request, views, chunk);
  const bytesOf = async (view: View | undefined): Promise<ArrayBuffer> =>
    view === undefined ? new ArrayBuffer(0) : ((await stream.read(view.span)).buffer as ArrayBuffer);
  const [output, indices, scores] = [
    await bytesOf(views.output),
    await bytesOf(views.indices),
    await bytesOf(views.scores),
  ];
  for (const view of Object.values(views) as View[]) stream.release(view.span);
  const count = sizeOf(views.output.shape);
  const floats =
    request.dtype === 'f32'
      ? new Float32Array(output)
      : Float32Array.from(new Uint16Array(output), halfToNumber);
  return {
    output: floats.slice(0, count),
    indices: new Int32Array(indices),
    scores: new Float32Array(scores),
  };
}

/** Kept keys equal, outputs and scores within rounding of the oracle. */
export function expectAnswer(request: AttentionRequest, arrays: AttentionArrays, got: Answer): void {
  const wanted = referenceAttention(request, arrays);
  const tolerance = request.dtype === 'f32' ? 1e-5 : 2e-3;
  const slots = request.k === 'all' ? 0 : request.k;
  const isNaNRow = (row: number): boolean => slots > 0 && Number.isNaN(wanted.scores[row * slots]);
  if (request.saves) {
    got.indices.forEach((index, at) => {
      if (isNaNRow(Math.floor(at / slots))) return;
      if (index !== wanted.indices[at]) {
        const row = Math.floor(at / slots);
        const list = (all: Int32Array): string => all.slice(row * slots, (row + 1) * slots).join();
        expect.fail(`row ${row} keeps ${list(got.indices)}, expected ${list(wanted.indices)}`);
      }
    });
    expectClose('scores', got.scores, wanted.scores, 1e-5);
  }
  expectClose('output', got.output, wanted.output, tolerance);
}

export function expectClose(
  what: string,
  got: ArrayLike<number>,
  wanted: ArrayLike<number>,
  tolerance: number,
): void {
  expect(got.length, what).toBe(wanted.length);
  for (let at = 0; at < wanted.length; at++) {
    const [mine, theirs] = [got[at] as number, wanted[at] as number];
    if (Object.is(mine, theirs) || mine === theirs) continue;
    const isClose = Math.abs(mine - theirs) <= tolerance * (1 + Math.abs(theirs));
    if (!isClose) expect.fail(`${what}[${at}] is ${mine}, expected ${theirs}`);
  }
}
