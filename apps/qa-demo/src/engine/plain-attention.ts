import {
  add,
  arange,
  exactAttention,
  lt,
  matmul,
  mul,
  relativePositionBucket,
  reshape,
  softmax,
  type Tensor,
  tensor,
  where,
} from '@topk-attention/core';
import type { AttentionFunction, T5 } from '@topk-attention/models';

type RelativeBias = NonNullable<Parameters<AttentionFunction>[3]['relativeBias']>;

/** Tensors of this size at the worst moment: the scores, the result of the addition or the softmax, the biases. */
export const TENSORS_OF_ALL_PAIRS = 3;

/** The table of relative biases, [buckets, heads], that all layers of an encoder share. */
const TABLE = 'encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight';

/**
 * Encoder attention as it is usually run, including by transformers and transformers.js: all scores of a call in one
 * tensor [B, H, L, L], and the biases of all pairs of positions in another, which all layers share. The same numbers
 * as `exactAttention` on the same engine, without chunks.
 */
export class PlainAttention {
  readonly #table: ArrayLike<number>;
  #bias: Tensor | undefined;

  /** @param table values of the relative biases, [buckets, heads] */
  constructor(table: ArrayLike<number>) {
    this.#table = table;
  }

  /** For the encoder of a model. */
  static async of({ parameters }: T5): Promise<PlainAttention> {
    return new PlainAttention(await (parameters[TABLE] as Tensor).data());
  }

  /** The attention choice of a model's encoder. It heeds only the options that an encoder uses. */
  readonly attend: AttentionFunction = (q, k, v, { scale = 1, keyLengths, relativeBias }) => {
    const bias = relativeBias && this.#biasOf(relativeBias, q.shape[2] as number);
    if (q.backend.name === 'onnxruntime') {
      // In one chunk its graph is MatMul, Add, Softmax, MatMul. The op softmax there also guards against rows without a
      // key, and would cost memory that others do not spend.
      const queryChunk = q.shape[2] as number;
      return exactAttention(q, k, v, {
        scale,
        queryChunk,
        ...(bias && { bias }),
        ...(keyLengths && { keyLengths }),
      });
    }
    let scores = consume(mul(q, scale), (queries) => matmul(queries, k, { transposeB: true }));
    if (bias !== undefined) scores = consume(scores, (product) => add(product, bias));
    if (keyLengths !== undefined) {
      const positions = arange(k.backend, k.shape[2] as number);
      const isValid = lt(positions, reshape(keyLengths, [-1, 1, 1, 1]));
      scores = consume(scores, (all) => where(isValid, all, Number.NEGATIVE_INFINITY));
    }
    return consume(consume(scores, softmax), (weights) => matmul(weights, v));
  };

  /** Frees the biases; idempotent. */
  dispose(): void {
    this.#bias?.dispose();
    this.#bias = undefined;
  }

  /**
   * f32 [1, H, L, L]: the table's entry for every head and pair of positions. Computed here rather than by ops, whose
   * intermediate results would be as large again.
   */
  #biasOf({ table, bidirectional, maxDistance }: RelativeBias, length: number): Tensor {
    if (this.#bias?.shape[2] === length) return this.#bias;
    this.dispose();
    const [buckets, heads] = table.shape as readonly [number, number];
    const rule = { bidirectional, buckets, maxDistance };
    const values = new Float32Array(heads * length * length);
    const byDistance = new Float32Array(2 * length - 1);
    for (let head = 0, row = 0; head < heads; head++) {
      for (const at of byDistance.keys()) {
        const bucket = relativePositionBucket(at - (length - 1), rule);
        byDistance[at] = this.#table[bucket * heads + head] as number;
      }
      for (let query = 0; query < length; query++, row += length) {
        const first = length - 1 - query;
        values.set(byDistance.subarray(first, first + length), row);
      }
    }
    // The layer around a call disposes of what the call made, but the next layers need the biases too.
    this.#bias = tensor(table.backend, values, [1, heads, length, length]).unscopedAlias();
    return this.#bias;
  }
}

/** Makes a tensor from another and disposes of the latter: nothing as large as the scores outlives its use. */
function consume(from: Tensor, make: (from: Tensor) => Tensor): Tensor {
  const made = make(from);
  from.dispose();
  return made;
}
