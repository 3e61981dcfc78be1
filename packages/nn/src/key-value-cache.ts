import {
  aNumber,
  type Backend,
  concat,
  type OptionKinds,
  readOptions,
  required,
  type Tensor,
  TopKError,
  writeInto,
  zeros,
} from '@topk-attention/core';

export interface KeyValueCacheOptions {
  readonly batch: number;
  readonly heads: number;
  readonly keyDim: number;
  readonly valueDim: number;
  /** Keys it has room for at first; each growth doubles it. Default 32. */
  readonly capacity?: number;
}

const kinds: OptionKinds<KeyValueCacheOptions> = {
  batch: required(aNumber),
  heads: required(aNumber),
  keyDim: required(aNumber),
  valueDim: required(aNumber),
  capacity: aNumber,
};

/**
 * Keys and values of the tokens decoded so far, in tensors with room to spare: [B, H, capacity, D], filled from the
 * left. Shapes change only when it grows, so an engine that compiles by shape compiles once per capacity, and one that
 * writes in place copies nothing. Attention hides the empty part by `keyLengths`.
 */
export class KeyValueCache {
  #keys: Tensor;
  #values: Tensor;
  #length = 0;

  /** @param backend where the cache lives */
  constructor(backend: Backend, options: KeyValueCacheOptions) {
    const given = readOptions('KeyValueCache', options, kinds);
    const { batch, heads, keyDim, valueDim, capacity = 32 } = given;
    this.#keys = zeros(backend, [batch, heads, capacity, keyDim]);
    this.#values = zeros(backend, [batch, heads, capacity, valueDim]);
  }

  /** [B, H, capacity, D]; a handle of the cache's own. */
  get keys(): Tensor {
    return this.#keys;
  }

  /** [B, H, capacity, Dv]; a handle of the cache's own. */
  get values(): Tensor {
    return this.#values;
  }

  /** Tokens in it. */
  get length(): number {
    return this.#length;
  }

  get capacity(): number {
    return this.#keys.shape[2] as number;
  }

  /** Makes room for `tokens` more by doubling. True when the shapes changed. Call it outside of `scope`. */
  reserve(tokens: number): boolean {
    let capacity = this.capacity;
    while (capacity < this.#length + tokens) capacity *= 2;
    if (capacity === this.capacity) return false;
    this.#keys = grown(this.#keys, capacity);
    this.#values = grown(this.#values, capacity);
    return true;
  }

  /**
   * Writes keys [B, H, n, D] and values [B, H, n, Dv] after those it holds. The arguments stay the caller's. Call it outside of
   * `scope`, which would dispose of the new tensors at its end.
   */
  append(keys: Tensor, values: Tensor): void {
    const tokens = keys.shape[2] as number;
    if (this.#length + tokens > this.capacity) {
      throw new TopKError('SHAPE_MISMATCH', 'KeyValueCache: no room', {
        expected: `at most ${this.capacity - this.#length} tokens`,
        got: String(tokens),
        fix: 'Call reserve() first',
      });
    }
    this.#keys = writeInto(this.#keys, keys, [0, 0, this.#length, 0]);
    this.#values = writeInto(this.#values, values, [0, 0, this.#length, 0]);
    this.#length += tokens;
  }

  /** Idempotent. */
  dispose(): void {
    this.#keys.dispose();
    this.#values.dispose();
  }
}

function grown(old: Tensor, capacity: number): Tensor {
  const shape = old.shape.map((extent, axis) => (axis === 2 ? capacity - extent : extent));
  const room = zeros(old.backend, shape);
  const made = concat([old, room], 2);
  old.dispose();
  room.dispose();
  return made;
}
