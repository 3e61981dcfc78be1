import type { AttentionRequest } from '@topk-attention/core/backend';
import {
  type AttentionArrays,
  halfToNumber,
  numberToHalf,
  type ReferenceAttentionResult,
  referenceAttention,
} from '@topk-attention/core/reference';
import { expect } from 'vitest';
import type { ForwardViews } from '../../src/attention/shared/forward-path.js';
import type { Span } from '../../src/runtime/kernel.js';
import type { Stream } from '../../src/runtime/stream.js';
import { storageBytes, type View } from '../../src/runtime/view.js';

export const plainRequest: AttentionRequest = {
  batch: 1,
  queryHeads: 2,
  keyHeads: 2,
  queryLength: 7,
  keyLength: 50,
  headDim: 16,
  valueDim: 16,
  dtype: 'f32',
  k: 8,
  scale: 0.25,
  causal: false,
  keyLengths: false,
  saves: true,
};

/** Reproducible numbers in [0, 1). */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Arrays that a test may change. */
export interface Filled {
  readonly q: Float64Array;
  readonly k: Float64Array;
  readonly v: Float64Array;
}

/** Small integers for q and k (exact scores, many ties), any numbers for the rest; masks and biases as the request says. */
export function arraysFor(
  request: AttentionRequest,
  seed: number,
  integers = true,
): AttentionArrays & Filled {
  const random = randomNumbers(seed);
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim } = request;
  const width = request.dtype === 'f16' ? halved : Math.fround;
  const fill = (size: number, of: () => number): Float64Array =>
    Float64Array.from({ length: size }, () => width(of()));
  const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
  const element = integers
    ? () => Math.floor(random() * 5) - 2
    : () => 2 * (random() + random() + random()) - 3;
  return {
    q: fill(batch * queryHeads * queryLength * headDim, element),
    k: fill(batch * keyHeads * keyLength * headDim, element),
    v: fill(batch * keyHeads * keyLength * valueDim, () => 2 * random() - 1),
    ...(request.mask && {
      mask: Float64Array.from({ length: sizeOf(request.mask) }, () => (random() < 0.7 ? 1 : 0)),
    }),
    ...(request.keyLengths && {
      keyLengths: Float64Array.from({ length: batch }, () => 1 + Math.floor(random() * keyLength)),
    }),
    ...(request.bias && {
      bias: Float64Array.from({ length: sizeOf(request.bias) }, () =>
        random() < 0.1 ? Number.NEGATIVE_INFINITY : Math.floor(random() * 9) / 4 - 1,
      ),
    }),
    ...(request.relativeBias && {
      relativeTable: Float64Array.from(
        { length: request.relativeBias.buckets * queryHeads },
        () => Math.floor(random() * 9) / 4 - 1,
      ),
    }),
  };
}

function halved(x: number): number {
  return halfToNumber(numberToHalf(x));
}

/** An attention call on a device: its inputs uploaded, its outputs allocated. */
export class Call {
  readonly views: ForwardViews;
  readonly expected: ReferenceAttentionResult;

  readonly stream: Stream;
  readonly request: AttentionRequest;

  constructor(stream: Stream, request: AttentionRequest, arrays: AttentionArrays) {
    this.stream = stream;
    this.request = request;
    const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim, dtype } = request;
    const upload = (data: ArrayLike<number>, shape: readonly number[], type: View['dtype']): View => {
      const span = stream.scratch(storageBytes(shape, type));
      stream.write(span, bytesOf(data, type));
      return { span, shape, dtype: type };
    };
    const empty = (shape: readonly number[], type: View['dtype']): View => {
      const span = stream.scratch(storageBytes(shape, type));
      stream.write(span, new Uint8Array(span.size).fill(0x5a)); // what is not written shows
      return { span, shape, dtype: type };
    };
    const slots = [batch, queryHeads, queryLength, request.k as number];
    this.views = {
      q: upload(arrays.q, [batch, queryHeads, queryLength, headDim], dtype),
      k: upload(arrays.k, [batch, keyHeads, keyLength, headDim], dtype),
      v: upload(arrays.v, [batch, keyHeads, keyLength, valueDim], dtype),
      ...(arrays.mask && { mask: upload(arrays.mask, request.mask as number[], 'bool') }),
      ...(arrays.keyLengths && { keyLengths: upload(arrays.keyLengths, [batch], 'i32') }),
      ...(arrays.bias && { bias: upload(arrays.bias, request.bias as number[], 'f32') }),
      ...(arrays.relativeTable && {
        relativeTable: upload(
          arrays.relativeTable,
          [arrays.relativeTable.length / queryHeads, queryHeads],
          'f32',
        ),
      }),
      output: empty([batch, queryHeads, queryLength, valueDim], dtype),
      ...(request.saves && { indices: empty(slots, 'i32'), scores: empty(slots, 'f32') }),
    };
    this.expected = referenceAttention(request, arrays);
  }

  async read(): Promise<{ output: Float64Array; indices: Int32Array; scores: Float32Array }> {
    const { output, indices, scores } = this.views;
    return {
      output: numbersOf(await this.stream.read(output.span), this.request.dtype, this.expected.output.length),
      indices: indices ? new Int32Array((await this.stream.read(indices.span)).buffer) : new Int32Array(),
      scores: scores ? new Float32Array((await this.stream.read(scores.span)).buffer) : new Float32Array(),
    };
  }

  /** Compares with the reference: equal index lists (`exactSets`: off where rounding may decide), close outputs. */
  async check(exactSets = true): Promise<void> {
    const { output, indices, scores } = await this.read();
    const { expected, request } = this;
    const tolerance = request.dtype === 'f16' ? 2e-3 : 2e-5;
    if (request.saves && exactSets) {
      expect(Array.from(indices.subarray(0, expected.indices.length))).toEqual(Array.from(expected.indices));
      const wrong = Array.from(expected.scores).findIndex(
        (score, at) => !close(scores[at] as number, score, tolerance),
      );
      expect(wrong, `score at ${wrong}`).toBe(-1);
    }
    const wrong = Array.from(expected.output).findIndex(
      (value, at) => !close(output[at] as number, value, tolerance),
    );
    expect(wrong, `output ${output[wrong]}, not ${expected.output[wrong]}, at ${wrong}`).toBe(-1);
  }
}

function close(got: number, expected: number, tolerance: number): boolean {
  if (Number.isNaN(expected)) return Number.isNaN(got);
  if (!Number.isFinite(expected)) return got === expected;
  return Math.abs(got - expected) <= tolerance * (1 + Math.abs(expected));
}

function bytesOf(data: ArrayLike<number>, dtype: View['dtype']): Uint8Array {
  if (dtype === 'f16') {
    const bits = new Uint16Array(2 * Math.ceil(data.length / 2));
    for (let i = 0; i < data.length; i++) bits[i] = numberToHalf(data[i] as number);
    return new Uint8Array(bits.buffer);
  }
  if (dtype === 'f32') return new Uint8Array(Float32Array.from(data).buffer);
  return new Uint8Array(Int32Array.from(data).buffer);
}

function numbersOf(bytes: Uint8Array, dtype: 'f32' | 'f16', count: number): Float64Array {
  if (dtype === 'f32') return Float64Array.from(new Float32Array(bytes.buffer, 0, count));
  return Float64Array.from(new Uint16Array(bytes.buffer, 0, count), halfToNumber);
}

/** Uploads u32 words. */
export function uploadWords(stream: Stream, words: Uint32Array): Span {
  const span = stream.scratch(words.byteLength);
  stream.write(span, new Uint8Array(words.buffer));
  return span;
}
