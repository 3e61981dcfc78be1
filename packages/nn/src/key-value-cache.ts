import {
  aNumber,
  type Backend,
  concat,
  formatShape,
  type OptionKinds,
  readOptions,
  required,
  scope,
  type Tensor,
  TopKError,
  writeInto,
  zeros,
} from '@topk-attention/core';
import { requireTensor, requireWhole } from './require.js';
import { takeRows } from './take-rows.js';

export interface KeyValueCacheOptions {
  readonly batch: number;
  readonly heads: number;
  readonly keyDim: number;
  readonly valueDim: number;
  /** Initial capacity in keys, at least 1; growing doubles it. Default 32. */
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
 * Key/value cache of the tokens decoded so far, in tensors with spare room: [B, H, capacity, D], filled from the
 * left. Shapes change only when it grows, so an engine that compiles by shape compiles once per capacity, and one that
 * writes in place copies nothing. Attention can read it directly, with `causal` and a `queryStart` of the `length`
 * before the queries' own keys were appended: the empty part is hidden.
 */
export class KeyValueCache {
  #keys: Tensor;
  #values: Tensor;
  #length = 0;

  /**
   * @param backend where the cache lives
   * @throws TopKError INVALID_OPTION for an extent that is not a whole number of at least 1; a batch may be 0.
   */
  constructor(backend: Backend, options: KeyValueCacheOptions) {
    const given = readOptions('KeyValueCache', options, kinds);
    const { batch, heads, keyDim, valueDim, capacity = 32 } = given;
    requireWhole('KeyValueCache', 'batch', batch, 0);
    for (const [name, extent] of Object.entries({ heads, keyDim, valueDim, capacity })) {
      requireWhole('KeyValueCache', name, extent, 1);
    }
    // In one scope, so that nothing is left over if the second cannot be made.
    [this.#keys, this.#values] = scope(() => [
      zeros(backend, [batch, heads, capacity, keyDim]),
      zeros(backend, [batch, heads, capacity, valueDim]),
    ]);
  }

  /** [B, H, capacity, D]; the handle belongs to the cache. */
  get keys(): Tensor {
    return this.#keys;
  }

  /** [B, H, capacity, Dv]; the handle belongs to the cache. */
  get values(): Tensor {
    return this.#values;
  }

  /** Tokens in the cache. */
  get length(): number {
    return this.#length;
  }

  get capacity(): number {
    return this.#keys.shape[2] as number;
  }

  /** Makes room for `tokens` more by doubling. Returns true if the shapes changed. Call it outside `scope`. */
  reserve(tokens: number): boolean {
    requireWhole('KeyValueCache.reserve', 'tokens', tokens, 0);
    let capacity = this.capacity;
    while (capacity < this.#length + tokens) capacity *= 2;
    if (capacity === this.capacity) return false;
    const keys = grown(this.#keys, capacity);
    let values: Tensor;
    try {
      values = grown(this.#values, capacity);
    } catch (error) {
      keys.dispose();
      throw error;
    }
    this.#replace(keys, values);
    return true;
  }

  /**
   * Appends keys [B, H, n, D] and values [B, H, n, Dv]. The arguments stay the caller's. Call it outside `scope`, which
   * would dispose of the new tensors when it closes.
   *
   * @throws TopKError RANK_MISMATCH, DTYPE_MISMATCH, SHAPE_MISMATCH (also when there is no room), and then writes
   * nothing.
   */
  append(keys: Tensor, values: Tensor): void {
    requireFit('keys', keys, this.#keys);
    requireFit('values', values, this.#values);
    if (keys.shape[2] !== values.shape[2]) {
      throw new TopKError('SHAPE_MISMATCH', 'KeyValueCache: keys and values differ in length', {
        expected: `${keys.shape[2]} values`,
        got: String(values.shape[2]),
      });
    }
    const tokens = keys.shape[2] as number;
    if (this.#length + tokens > this.capacity) {
      throw new TopKError('SHAPE_MISMATCH', 'KeyValueCache: too little room', {
        expected: `at most ${this.capacity - this.#length} tokens`,
        got: String(tokens),
        fix: 'Call reserve() first',
      });
    }
    this.#keys = writeInto(this.#keys, keys, [0, 0, this.#length, 0]);
    this.#values = writeInto(this.#values, values, [0, 0, this.#length, 0]);
    this.#length += tokens;
  }

  /**
   * Takes over tensors in which the next `tokens` have been written, in place of its own, which it disposes of. For a
   * recorded step, which takes the tensors of a cache and returns others.
   *
   * @throws TopKError RANK_MISMATCH, DTYPE_MISMATCH, SHAPE_MISMATCH, and then takes over nothing.
   */
  advance(tokens: number, keys: Tensor, values: Tensor): void {
    requireWhole('KeyValueCache.advance', 'tokens', tokens, 0);
    requireFit('keys', keys, this.#keys);
    requireFit('values', values, this.#values);
    const length = this.#length + tokens;
    for (const { shape } of [keys, values]) {
      if (shape[2] === this.capacity && length <= this.capacity) continue;
      throw new TopKError('SHAPE_MISMATCH', 'KeyValueCache: not the tensors of this cache', {
        expected: `a capacity of ${this.capacity}, and at most ${this.capacity - this.#length} more tokens`,
        got: `a capacity of ${shape[2]}, and ${tokens} tokens`,
      });
    }
    if (keys !== this.#keys) this.#keys.dispose();
    if (values !== this.#values) this.#values.dispose();
    this.#keys = keys;
    this.#values = values;
    this.#length = length;
  }

  /**
   * Row r goes on from what was row `rows[r]`: beams that move, copies, or rows that are left out. Call it outside `scope`.
   *
   * @throws TopKError INVALID_OPTION for a row that is not there, and then changes nothing.
   */
  reorder(rows: readonly number[]): void {
    const keys = takeRows(this.#keys, rows);
    let values: Tensor;
    try {
      values = takeRows(this.#values, rows);
    } catch (error) {
      keys.dispose();
      throw error;
    }
    this.#replace(keys, values);
  }

  /** Idempotent. */
  dispose(): void {
    this.#keys.dispose();
    this.#values.dispose();
  }

  /** Both or neither: keys and values must not differ in shape. */
  #replace(keys: Tensor, values: Tensor): void {
    this.#keys.dispose();
    this.#values.dispose();
    this.#keys = keys;
    this.#values = values;
  }
}

function grown(old: Tensor, capacity: number): Tensor {
  const shape = old.shape.map((extent, axis) => (axis === 2 ? capacity - extent : extent));
  const room = zeros(old.backend, shape);
  try {
    return concat([old, room], 2);
  } finally {
    room.dispose();
  }
}

/** All extents but the length must equal the cache's: a narrower write would leave part of a row unchanged. */
function requireFit(name: string, fresh: Tensor, cache: Tensor): void {
  requireTensor('KeyValueCache', name, fresh, { rank: 4, dtype: cache.dtype });
  if (fresh.shape.every((extent, axis) => axis === 2 || extent === cache.shape[axis])) return;
  const [batch, heads, , width] = cache.shape;
  throw new TopKError('SHAPE_MISMATCH', `KeyValueCache: ${name} have the wrong shape`, {
    expected: `[${batch}, ${heads}, n, ${width}]`,
    got: formatShape(fresh.shape),
  });
}
