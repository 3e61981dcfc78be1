import { cast, exactAttention, pullback, type Tensor, topKAttention } from '@topk-attention/core';
import type { WebGpuBackend } from '@topk-attention/webgpu';
import { hashed, readElements } from './data.js';
import { exactRow, type HeadArrays, isRightSet, RelativeError } from './oracle.js';

export interface AttentionShape {
  readonly heads: number;
  readonly length: number;
  readonly dim: number;
  /** Undefined: all keys. */
  readonly k: number | undefined;
  readonly causal: boolean;
  readonly dtype: 'f32' | 'f16';
  readonly isClustered: boolean;
}

export interface Checked {
  readonly rows: number;
  /** Relative error of the sampled rows against f64. */
  readonly error: number;
  /**
   * Sampled rows whose set differs from that of f64, ignoring keys that rounding cannot tell from the k-th. Undefined:
   * not checked.
   */
  readonly wrongSets?: number;
}

/** Self-attention with its inputs on a backend. */
export class AttentionCase {
  readonly backend: WebGpuBackend;
  readonly shape: AttentionShape;
  readonly #inputs: { readonly q: Tensor; readonly k: Tensor; readonly v: Tensor; readonly dOutput: Tensor };

  private constructor(backend: WebGpuBackend, shape: AttentionShape, inputs: AttentionCase['inputs']) {
    this.backend = backend;
    this.shape = shape;
    this.#inputs = inputs;
  }

  get inputs(): { readonly q: Tensor; readonly k: Tensor; readonly v: Tensor; readonly dOutput: Tensor } {
    return this.#inputs;
  }

  static async make(backend: WebGpuBackend, shape: AttentionShape): Promise<AttentionCase> {
    const { heads, length, dim, dtype, isClustered } = shape;
    const make = async (seed: number, kind: 'normal' | 'clusteredQueries' | 'clusteredKeys') => {
      const wide = await hashed(backend, [1, heads, length, dim], seed, isClustered ? kind : 'normal');
      if (dtype === 'f32') return wide;
      const narrow = cast(wide, 'f16');
      await backend.stream.finish();
      wide.dispose();
      return narrow;
    };
    const q = await make(1, 'clusteredQueries');
    const k = await make(2, 'clusteredKeys');
    const v = await make(3, 'normal');
    // Values serve as the gradient of the output: any numbers will do.
    return new AttentionCase(backend, shape, { q, k, v, dOutput: v });
  }

  /** Starts a forward pass; returns a function that frees it. */
  forward(): () => void {
    const output = this.attend();
    return () => output.dispose();
  }

  attend(): Tensor {
    const { q, k, v } = this.#inputs;
    const { k: kept, causal } = this.shape;
    return kept === undefined
      ? exactAttention(q, k, v, { causal })
      : topKAttention(q, k, v, { k: kept, causal });
  }

  /** Starts a forward and a backward pass; returns a function that frees them. */
  training(): () => void {
    const { output, gradients } = this.#train();
    return () => {
      for (const one of [output, ...Object.values(gradients)]) one.dispose();
    };
  }

  #train(): { output: Tensor; gradients: { q: Tensor; k: Tensor; v: Tensor } } {
    const { q, k, v, dOutput } = this.#inputs;
    const { k: kept, causal } = this.shape;
    const pulled = pullback(
      (x: { q: Tensor; k: Tensor; v: Tensor }) =>
        kept === undefined
          ? exactAttention(x.q, x.k, x.v, { causal })
          : topKAttention(x.q, x.k, x.v, { k: kept, causal }),
      { q, k, v },
    );
    const gradients = pulled.backward(dOutput);
    pulled.dispose();
    return { output: pulled.output, gradients };
  }

  get outputBytes(): number {
    const { heads, length, dim, dtype } = this.shape;
    return heads * length * dim * (dtype === 'f16' ? 2 : 4);
  }

  /** 8 k bytes per query and head. */
  get listBytes(): number {
    return 8 * this.shape.heads * this.shape.length * (this.shape.k ?? 0);
  }

  /** Rows sampled in every checked head: the first, both sides of k and of tiles, the last, and some in between. */
  sampledRows(count: number): readonly number[] {
    const { length, k = 1 } = this.shape;
    const fixed = [0, k - 1, k, 127, 128, length - 1].filter((row) => row >= 0 && row < length);
    const between = Array.from({ length: count }, (_, at) =>
      Math.floor((((at + 1) * 0.618034) % 1) * length),
    );
    return Array.from(new Set([...fixed, ...between])).slice(0, Math.max(count, 1));
  }

  async head(head: number): Promise<HeadArrays & { readonly q: ArrayLike<number> }> {
    const { length, dim } = this.shape;
    const { q, k, v } = this.#inputs;
    const read = (x: Tensor): Promise<ArrayLike<number>> =>
      readElements(this.backend, x, head * length * dim, length * dim);
    return { q: await read(q), k: await read(k), v: await read(v), keys: length, dim, valueDim: dim };
  }

  /**
   * Checks an output (default: of a new call; disposed of here) against f64 on sampled rows, and sets where available.
   */
  async check({
    heads = [0, 7, 11],
    rowsOfHead = 8,
    sets = true,
    output = this.attend(),
  } = {}): Promise<Checked> {
    const { length, dim, k, causal, heads: allHeads } = this.shape;
    const lists = sets && k !== undefined ? this.lists() : undefined;
    const error = new RelativeError();
    let wrongSets = 0;
    let rows = 0;
    for (const head of heads.filter((one) => one < allHeads)) {
      const arrays = await this.head(head);
      for (const row of this.sampledRows(rowsOfHead)) {
        const query = sliceOf(arrays.q, row * dim, dim);
        const expected = exactRow(arrays, query, causal ? row + 1 : length, k);
        const at = head * length + row;
        error.add(await readElements(this.backend, output, at * dim, dim), expected.output);
        rows++;
        if (lists === undefined || k === undefined) continue;
        const slots = Math.min(k, length);
        const kept = Array.from(await readElements(this.backend, lists, at * slots, slots)).filter(
          (key) => key >= 0,
        );
        if (!isRightSet(expected, kept, largestProduct(arrays, query, row))) wrongSets++;
      }
    }
    output.dispose();
    lists?.dispose();
    return { rows, error: error.value, ...(lists !== undefined && { wrongSets }) };
  }

  /** i32 [1, heads, length, k] */
  lists(): Tensor {
    const { q, k, v } = this.#inputs;
    const { k: kept = 1, causal } = this.shape;
    const { output, indices } = topKAttention(q, k, v, { k: kept, causal, returnIndices: true });
    output.dispose();
    return indices;
  }

  /**
   * Checks gradients of sampled rows of one head against f64 over the sets that the forward pass keeps, or over all
   * visible keys.
   */
  async checkGradients({ head = 7, rows = 8, keys = 8 } = {}): Promise<Checked> {
    const { length, dim, k, causal } = this.shape;
    const kept = Math.min(k ?? length, length);
    const own = Math.min(head, this.shape.heads - 1);
    const { output, gradients } = this.#train();
    const lists = k === undefined ? undefined : this.lists();
    const base = own * length;
    const arrays = await this.head(own);
    const indices: ArrayLike<number> =
      lists === undefined
        ? Int32Array.from({ length: length * length }, (_, at) => {
            const key = at % length;
            return causal && key > Math.floor(at / length) ? -1 : key;
          })
        : await readElements(this.backend, lists, base * kept, length * kept);
    const dO = await readElements(this.backend, this.#inputs.dOutput, base * dim, length * dim);
    const keysOf = (row: number): readonly number[] =>
      Array.from(sliceOf(indices, row * kept, kept)).filter((key) => key >= 0);
    const read = (x: Tensor, row: number): Promise<ArrayLike<number>> =>
      readElements(this.backend, x, (base + row) * dim, dim);
    const error = new RelativeError();
    for (const row of this.sampledRows(rows)) {
      const { slots, scoreGradients } = rowGradient(arrays, dO, row, keysOf(row));
      const expected = new Float64Array(dim);
      for (const [slot, key] of slots.entries()) {
        addScaled(expected, arrays.k, key, (scoreGradients[slot] as number) * dim ** -0.5);
      }
      error.add(await read(gradients.q, row), expected);
    }
    for (const key of this.sampledRows(keys)) {
      const dK = new Float64Array(dim);
      const dV = new Float64Array(dim);
      for (let at = 0; at < indices.length; at++) {
        if (indices[at] !== key) continue;
        const row = Math.floor(at / kept);
        const { slots, weights, scoreGradients } = rowGradient(arrays, dO, row, keysOf(row));
        const slot = slots.indexOf(key);
        addScaled(dK, arrays.q, row, (scoreGradients[slot] as number) * dim ** -0.5);
        addScaled(dV, dO, row, weights[slot] as number);
      }
      error.add(await read(gradients.k, key), dK);
      error.add(await read(gradients.v, key), dV);
    }
    for (const one of [output, lists, ...Object.values(gradients)]) one?.dispose();
    return { rows: rows + 2 * keys, error: error.value };
  }

  dispose(): void {
    const { q, k, v } = this.#inputs;
    for (const one of [q, k, v]) one.dispose();
  }
}

function sliceOf(x: ArrayLike<number>, start: number, count: number): ArrayLike<number> {
  return Array.from({ length: count }, (_, at) => x[start + at] as number);
}

function addScaled(to: Float64Array, rows: ArrayLike<number>, row: number, factor: number): void {
  for (let d = 0; d < to.length; d++)
    to[d] = (to[d] as number) + factor * (rows[row * to.length + d] as number);
}

/** A bound on |q| |k| / sqrt(D) over the keys, which the rounding of scores is relative to. */
function largestProduct({ k, dim }: HeadArrays, query: ArrayLike<number>, row: number): number {
  const norm = (x: ArrayLike<number>, start: number): number => {
    let sum = 0;
    for (let d = 0; d < dim; d++) sum += (x[start + d] as number) ** 2;
    return Math.sqrt(sum);
  };
  return (norm(query, 0) * 1.5 * norm(k, row * dim)) / Math.sqrt(dim);
}

/** Weights of a row and gradients of its scores (before the scale), by the formulas of section 1.6 of the paper. */
function rowGradient(
  { q, k, v, dim }: HeadArrays & { readonly q: ArrayLike<number> },
  dO: ArrayLike<number>,
  row: number,
  slots: readonly number[],
): { slots: readonly number[]; weights: readonly number[]; scoreGradients: readonly number[] } {
  const dot = (a: ArrayLike<number>, i: number, b: ArrayLike<number>, j: number): number => {
    let sum = 0;
    for (let d = 0; d < dim; d++) sum += (a[i * dim + d] as number) * (b[j * dim + d] as number);
    return sum;
  };
  const scores = slots.map((key) => dot(q, row, k, key) * dim ** -0.5);
  const largest = Math.max(...scores);
  const exponentials = scores.map((score) => Math.exp(score - largest));
  const total = exponentials.reduce((a, b) => a + b, 0);
  const weights = exponentials.map((one) => one / total);
  const dWeights = slots.map((key) => dot(dO, row, v, key));
  const mean = weights.reduce((sum, weight, slot) => sum + weight * (dWeights[slot] as number), 0);
  return {
    slots,
    weights,
    scoreGradients: weights.map((weight, slot) => weight * ((dWeights[slot] as number) - mean)),
  };
}
