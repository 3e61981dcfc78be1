import { type Backend, relativePositionBucket } from '@topk-attention/core';
import type {
  AttentionInputs,
  AttentionOutputs,
  AttentionRequest,
  BackendTensor,
  DeviceLimits,
  FusedOperation,
} from '@topk-attention/core/backend';

type Attention = FusedOperation<
  AttentionRequest,
  AttentionInputs<BackendTensor>,
  AttentionOutputs<BackendTensor>
>;

/** As large as all scores at the worst moment: the scores, the result of adding or of the softmax, the biases. */
export const TENSORS_OF_ALL_PAIRS = 3;

/**
 * Attention as it is usually run, also by transformers and transformers.js: all scores of a call in one tensor
 * [1, H, L, L], and the biases of all pairs of positions in another, which all layers share. The same numbers as
 * `exactAttention` on the same engine, without chunks. Calls of a single query, as a decoder's, are the inner backend's.
 */
export class PlainAttention implements Attention {
  readonly #backend: Backend;
  #table: { readonly tensor: BackendTensor; readonly values: Float32Array } | undefined;
  #seen: BackendTensor | undefined;
  #bias: BackendTensor | undefined;

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  /** Reads the relative biases of the last call: after one of a single query, and before longer ones. */
  async readTable(): Promise<void> {
    const tensor = this.#seen;
    if (tensor === undefined) return;
    this.#table = { tensor, values: Float32Array.from(await this.#backend.read(tensor)) };
  }

  prepare(request: AttentionRequest, limits: DeviceLimits): ReturnType<Attention['prepare']> {
    const inner = request.queryLength === 1 ? this.#backend.fused?.attention : undefined;
    const prepared = inner?.prepare(request, limits);
    if (prepared !== undefined && 'refusals' in prepared) return prepared;
    const needs = prepared ?? {
      preferredChunk: request.queryLength,
      scratchBytes: () => TENSORS_OF_ALL_PAIRS * bytesOfAllPairs(request),
      describe: () => ({ variant: 'plain: all scores at once' }),
    };
    return {
      ...needs,
      run: (inputs, chunk) => {
        this.#seen = inputs.relativeTable ?? this.#seen;
        return prepared?.run(inputs, chunk) ?? this.#run(request, limits, inputs);
      },
    };
  }

  #run(
    request: AttentionRequest,
    limits: DeviceLimits,
    inputs: AttentionInputs<BackendTensor>,
  ): AttentionOutputs<BackendTensor> {
    const { q, k, v, keyLengths } = inputs;
    const bias = this.#biasOf(request);
    const { attention } = this.#backend.fused ?? {};
    if (this.#backend.name === 'onnxruntime' && attention !== undefined) {
      // In one chunk its graph is MatMul, Add, Softmax, MatMul. The primitive softmax there also guards against rows
      // without a key, and would cost memory that others do not spend.
      const { relativeBias: _relativeBias, ...rest } = request;
      const whole = { q, k, v, bias, ...(keyLengths && { keyLengths }) };
      const prepared = attention.prepare({ ...rest, bias: bias.shape }, limits);
      if (!('refusals' in prepared)) return prepared.run(whole, request.queryLength);
    }
    return { output: this.#compose(request, inputs, bias) };
  }

  /** Frees the biases; idempotent. */
  dispose(): void {
    if (this.#bias !== undefined) this.#backend.release(this.#bias);
    this.#bias = undefined;
  }

  #compose(
    { scale, batch, keyLength }: AttentionRequest,
    { q, k, v, keyLengths }: AttentionInputs<BackendTensor>,
    bias: BackendTensor,
  ): BackendTensor {
    const backend = this.#backend;
    /** `make` of some tensors, which are then gone: nothing as large as the scores outlives its use. */
    const consume = (make: (...from: BackendTensor[]) => BackendTensor, ...from: BackendTensor[]) => {
      const made = make(...from);
      for (const one of from) backend.release(one);
      return made;
    };
    const queries = consume((factor) => backend.binary('mul', q, factor), backend.fill(scale, [], 'f32'));
    let scores = consume((scaled) => backend.matmul(scaled, k, false, true), queries);
    scores = consume((product) => backend.binary('add', product, bias), scores);
    if (keyLengths !== undefined) {
      const positions = backend.upload(
        Int32Array.from({ length: keyLength }, (_, at) => at),
        [keyLength],
        'i32',
      );
      const lengths = backend.reshape(keyLengths, [batch, 1, 1, 1]);
      const isValid = consume((at, length) => backend.compare('lt', at, length), positions, lengths);
      const hidden = backend.fill(Number.NEGATIVE_INFINITY, [], 'f32');
      scores = consume((valid, all, none) => backend.where(valid, all, none), isValid, scores, hidden);
    }
    const weights = consume((all) => backend.softmax(all), scores);
    return consume((all) => backend.matmul(all, v, false, false), weights);
  }

  /** f32 [1, H, L, L]: the table's entry for every head and pair of positions. */
  #biasOf({ queryHeads, queryLength, keyLength, relativeBias }: AttentionRequest): BackendTensor {
    const shape = [1, queryHeads, queryLength, keyLength];
    if (this.#bias !== undefined && String(this.#bias.shape) === String(shape)) return this.#bias;
    this.dispose();
    const values = new Float32Array(queryHeads * queryLength * keyLength);
    if (relativeBias !== undefined && this.#table !== undefined) {
      const byDistance = new Float32Array(queryLength + keyLength - 1);
      for (let head = 0, row = 0; head < queryHeads; head++) {
        for (const at of byDistance.keys()) {
          const bucket = relativePositionBucket(at - (queryLength - 1), relativeBias);
          byDistance[at] = this.#table.values[bucket * queryHeads + head] as number;
        }
        for (let query = 0; query < queryLength; query++, row += keyLength) {
          const first = queryLength - 1 - query;
          values.set(byDistance.subarray(first, first + keyLength), row);
        }
      }
    }
    this.#bias = this.#backend.upload(values, shape, 'f32');
    return this.#bias;
  }
}

function bytesOfAllPairs({ batch, queryHeads, queryLength, keyLength }: AttentionRequest): number {
  return 4 * batch * queryHeads * queryLength * keyLength;
}
