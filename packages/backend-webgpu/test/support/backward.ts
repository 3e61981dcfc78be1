import type {
  AttentionBackwardInputs,
  AttentionGradients,
  AttentionRequest,
  DType,
  FusedOperation,
  Shape,
} from '@topk-attention/core/backend';
import {
  type AttentionArrays,
  halfToNumber,
  numberToHalf,
  type ReferenceAttentionGradients,
  referenceAttention,
  referenceAttentionBackward,
} from '@topk-attention/core/reference';
import { fusedAttentionBackward } from '../../src/attention/backward/fused-attention-backward.js';
import { type BackwardTuning, DEFAULT_TUNING } from '../../src/attention/backward/tuning.js';
import { exactBackward } from '../../src/attention/exact-backward/exact-backward.js';
import { EXACT_BACKWARD_TUNING, type ExactBackwardTuning } from '../../src/attention/exact-backward/parts.js';
import { limitsOf } from '../../src/limits.js';
import { acquireDevice } from '../../src/runtime/acquire.js';
import { type DeviceFacts, deviceFacts } from '../../src/runtime/facts.js';
import { Stream } from '../../src/runtime/stream.js';
import { storageBytes, type View } from '../../src/runtime/view.js';

/** Uniform numbers from -1 to 1, the same for the same seed. */
export function randomNumbers(count: number, seed: number): Float64Array {
  let state = seed >>> 0 || 1;
  return Float64Array.from({ length: count }, () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return ((state >>> 0) / 2 ** 31 - 1) as number;
  });
}

export interface Problem {
  readonly request: AttentionRequest;
  readonly arrays: AttentionArrays;
  readonly dOutput: Float64Array;
  /** Kept keys and scores, where the forward pass of the reference is not to make them. */
  readonly lists?: { readonly indices: Int32Array; readonly scores: Float64Array };
}

const size = (shape: Shape): number => shape.reduce((a, b) => a * b, 1);

export function problem(partial: Partial<AttentionRequest>, seed = 1): Problem {
  const request: AttentionRequest = {
    batch: 1,
    queryHeads: 2,
    keyHeads: 2,
    queryLength: 20,
    keyLength: 20,
    headDim: 8,
    valueDim: 8,
    dtype: 'f32',
    k: 4,
    scale: 0.5,
    causal: false,
    keyLengths: false,
    saves: true,
    ...partial,
  };
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim, dtype } = request;
  const stored = (values: Float64Array): Float64Array =>
    values.map(dtype === 'f16' ? (x) => halfToNumber(numberToHalf(x)) : Math.fround);
  const draw = (shape: Shape, offset: number): Float64Array =>
    stored(randomNumbers(size(shape), 1000 * seed + offset));
  const floats = (shape: Shape, offset: number): Float64Array =>
    randomNumbers(size(shape), 1000 * seed + offset).map(Math.fround);
  const { mask, bias, relativeBias, keyLengths } = request;
  return {
    request,
    arrays: {
      q: draw([batch, queryHeads, queryLength, headDim], 1),
      k: draw([batch, keyHeads, keyLength, headDim], 2),
      v: draw([batch, keyHeads, keyLength, valueDim], 3),
      ...(mask && { mask: floats(mask, 4).map((x) => (x < 0.3 ? 1 : 0)) }),
      ...(keyLengths && {
        keyLengths: Float64Array.from({ length: batch }, (_, b) => keyLength - 3 * b - 2),
      }),
      ...(bias && { bias: floats(bias, 5) }),
      ...(relativeBias && { relativeTable: floats([relativeBias.buckets, queryHeads], 6) }),
    },
    dOutput: draw([batch, queryHeads, queryLength, valueDim], 7),
  };
}

export type Gradients = ReferenceAttentionGradients;

export function referenceGradients({ request, arrays, dOutput }: Problem): Gradients {
  return referenceAttentionBackward(request, arrays, dOutput);
}

/** Gradients in f64 from given lists, one kept key of one query at a time; without biases and dropout. */
export function gradientsOfLists({ request, arrays, dOutput, lists }: Problem): Gradients {
  if (lists === undefined) throw new RangeError('the problem has no lists');
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim, scale } = request;
  const k = request.k as number;
  const q = new Float64Array(arrays.q.length);
  const dK = new Float64Array(arrays.k.length);
  const dV = new Float64Array(arrays.v.length);
  for (let row = 0; row < batch * queryHeads * queryLength; row++) {
    const unit = Math.floor(row / ((queryHeads / keyHeads) * queryLength));
    const kept = Array.from(lists.indices.subarray(row * k, row * k + k));
    const scores = lists.scores.subarray(row * k, row * k + k);
    const total = scores.reduce((sum, score) => sum + Math.exp(score), 0);
    const weights = kept.map((key, slot) => (key < 0 ? 0 : Math.exp(scores[slot] as number) / total));
    const at = (key: number): number => unit * keyLength + key;
    const dot = (key: number): number => {
      let sum = 0;
      for (let d = 0; d < valueDim; d++) {
        sum += (dOutput[row * valueDim + d] as number) * (arrays.v[at(key) * valueDim + d] as number);
      }
      return sum;
    };
    const products = kept.map((key) => (key < 0 ? 0 : dot(key)));
    const mean = products.reduce((sum, product, slot) => sum + (weights[slot] as number) * product, 0);
    kept.forEach((key, slot) => {
      if (key < 0) return;
      const weight = weights[slot] as number;
      const slope = scale * weight * ((products[slot] as number) - mean);
      const add = (sums: Float64Array, position: number, amount: number): void => {
        sums[position] = (sums[position] as number) + amount;
      };
      for (let d = 0; d < headDim; d++) {
        add(q, row * headDim + d, slope * (arrays.k[at(key) * headDim + d] as number));
        add(dK, at(key) * headDim + d, slope * (arrays.q[row * headDim + d] as number));
      }
      for (let d = 0; d < valueDim; d++) {
        add(dV, at(key) * valueDim + d, weight * (dOutput[row * valueDim + d] as number));
      }
    });
  }
  return { q, k: dK, v: dV, bias: new Float64Array(0), relativeTable: new Float64Array(0) };
}

export class Machine {
  readonly stream: Stream;
  readonly #device: GPUDevice;
  constructor(device: GPUDevice) {
    this.#device = device;
    this.stream = new Stream(device);
  }

  /** With WebGPU's default limits, or with all that the adapter grants. */
  static async make(defaultLimits = true): Promise<Machine> {
    const { device } = await acquireDevice({ defaultLimits });
    return new Machine(device);
  }

  destroy(): void {
    this.#device.destroy();
  }

  /** Outputs begin as rubbish, so that what is not written shows. */
  allocate = (shape: Shape, dtype: DType): View => {
    const size = storageBytes(shape, dtype);
    const span = this.stream.scratch(size);
    this.stream.write(span, new Uint8Array(Math.ceil(size / 4) * 4).fill(0x55));
    return { span, shape, dtype };
  };

  upload(values: ArrayLike<number>, shape: Shape, dtype: DType): View {
    const view = this.allocate(shape, dtype);
    const bytes = new ArrayBuffer(Math.ceil(storageBytes(shape, dtype) / 4) * 4);
    if (dtype === 'f16') new Uint16Array(bytes).set(Array.from(values, numberToHalf));
    else if (dtype === 'f32') new Float32Array(bytes).set(values);
    else new Int32Array(bytes).set(values);
    this.stream.write(view.span, new Uint8Array(bytes));
    return view;
  }

  async read(view: View): Promise<Float64Array> {
    const bytes = await this.stream.read({
      ...view.span,
      size: Math.ceil(storageBytes(view.shape, view.dtype) / 4) * 4,
    });
    const count = size(view.shape);
    if (view.dtype === 'f16') return Float64Array.from(new Uint16Array(bytes.buffer, 0, count), halfToNumber);
    return Float64Array.from(new Float32Array(bytes.buffer, 0, count));
  }

  /** Gradients from the lists of the reference's forward pass (as f32), or from those of the problem. */
  async gradients(
    problem: Problem,
    tuning: Partial<BackwardTuning> = {},
    chunk: number = problem.request.queryLength,
  ): Promise<Gradients> {
    const { request, arrays, lists } = problem;
    const { batch, queryHeads, queryLength } = request;
    const { indices, scores } = lists ?? referenceAttention(request, arrays);
    const listShape = [batch, queryHeads, queryLength, request.k as number];
    const operation = fusedAttentionBackward(this.stream, deviceFacts(this.#device), this.allocate, {
      ...DEFAULT_TUNING,
      ...tuning,
    });
    return this.#run(operation, problem, chunk, {
      indices: this.upload(indices, listShape, 'i32'),
      scores: this.upload(scores, listShape, 'f32'),
    });
  }

  /** Gradients of exact attention. */
  exactGradients(
    problem: Problem,
    tuning: Partial<ExactBackwardTuning> = {},
    chunk: number = problem.request.queryLength,
    facts: DeviceFacts = deviceFacts(this.#device),
  ): Promise<Gradients> {
    const operation = exactBackward(this.stream, facts, this.allocate, {
      ...EXACT_BACKWARD_TUNING,
      ...tuning,
    });
    return this.#run(operation, problem, chunk, {});
  }

  async #run(
    operation: FusedOperation<AttentionRequest, AttentionBackwardInputs<View>, AttentionGradients<View>>,
    { request, arrays, dOutput }: Problem,
    chunk: number,
    lists: Pick<AttentionBackwardInputs<View>, 'indices' | 'scores'>,
  ): Promise<Gradients> {
    const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim, dtype } = request;
    const { bias, relativeTable } = arrays;
    const inputs: AttentionBackwardInputs<View> = {
      q: this.upload(arrays.q, [batch, queryHeads, queryLength, headDim], dtype),
      k: this.upload(arrays.k, [batch, keyHeads, keyLength, headDim], dtype),
      v: this.upload(arrays.v, [batch, keyHeads, keyLength, valueDim], dtype),
      ...(arrays.mask && request.mask && { mask: this.upload(arrays.mask, request.mask, 'bool') }),
      ...(arrays.keyLengths && { keyLengths: this.upload(arrays.keyLengths, [batch], 'i32') }),
      ...lists,
      dOutput: this.upload(dOutput, [batch, queryHeads, queryLength, valueDim], dtype),
      ...(bias && request.bias && { bias: this.upload(bias, request.bias, 'f32') }),
      ...(relativeTable && {
        relativeTable: this.upload(relativeTable, [request.relativeBias?.buckets ?? 0, queryHeads], 'f32'),
      }),
    };
    const prepared = operation.prepare(request, limitsOf(deviceFacts(this.#device)));
    if ('refusals' in prepared) throw new Error(prepared.refusals.join('; '));
    const made = prepared.run(inputs, chunk);
    const results = {
      q: await this.read(made.q),
      k: await this.read(made.k),
      v: await this.read(made.v),
      bias: made.bias ? await this.read(made.bias) : new Float64Array(0),
      relativeTable: made.relativeTable ? await this.read(made.relativeTable) : new Float64Array(0),
    };
    for (const view of [...Object.values(inputs), ...Object.values(made)]) this.stream.release(view.span);
    return results;
  }
}

/** The largest difference relative to the largest number expected (at least 0.1: some sums are exactly 0 but for rounding); NaN where only one side is NaN. */
export function difference(got: Float64Array, expected: Float64Array): number {
  const scale = expected.reduce((most, x) => Math.max(most, Math.abs(x) || 0), 0.1);
  if (got.length !== expected.length) return Number.NaN;
  return got.reduce((most, x, i) => {
    const wanted = expected[i] as number;
    if (Number.isNaN(x) && Number.isNaN(wanted)) return most;
    return Number.isNaN(x) || Number.isNaN(wanted)
      ? Number.NaN
      : Math.max(most, Math.abs(x - wanted) / scale);
  }, 0);
}

export const roles = ['q', 'k', 'v', 'bias', 'relativeTable'] as const;

let shared: Promise<Machine> | undefined;

/** One device with WebGPU's default limits for all tests of a file: shaders compile slowly on the software GPU. */
export function sharedMachine(): Promise<Machine> {
  shared ??= Machine.make();
  return shared;
}
