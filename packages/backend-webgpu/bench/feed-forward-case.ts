import { type Tensor, topKFeedForward } from '@topk-attention/core';
import type { WebGpuBackend } from '@topk-attention/webgpu';
import type { Checked } from './attention-case.js';
import { hashed, readElements } from './data.js';
import { RelativeError } from './oracle.js';

export interface FeedForwardShape {
  readonly tokens: number;
  readonly dim: number;
  readonly hidden: number;
  readonly k: number;
}

/** A feed-forward layer (ReLU, no biases, as in T5 and the paper) with its weights on a backend. */
export class FeedForwardCase {
  readonly shape: FeedForwardShape;
  readonly #backend: WebGpuBackend;
  readonly #x: Tensor;
  readonly #weights: { readonly wIn: Tensor; readonly wOut: Tensor };

  private constructor(
    backend: WebGpuBackend,
    shape: FeedForwardShape,
    x: Tensor,
    weights: { readonly wIn: Tensor; readonly wOut: Tensor },
  ) {
    this.#backend = backend;
    this.shape = shape;
    this.#x = x;
    this.#weights = weights;
  }

  static async make(backend: WebGpuBackend, shape: FeedForwardShape): Promise<FeedForwardCase> {
    const { tokens, dim, hidden } = shape;
    const x = await hashed(backend, [tokens, dim], 11);
    const wIn = await hashed(backend, [dim, hidden], 12);
    const wOut = await hashed(backend, [hidden, dim], 13);
    return new FeedForwardCase(backend, shape, x, { wIn, wOut });
  }

  forward(): () => void {
    const output = this.#run();
    return () => output.dispose();
  }

  #run(): Tensor {
    return topKFeedForward(this.#x, this.#weights, { k: this.shape.k, activation: 'relu' });
  }

  get outputBytes(): number {
    return 4 * this.shape.tokens * this.shape.dim;
  }

  async check(rows = 8): Promise<Checked> {
    const { tokens, dim, hidden, k } = this.shape;
    const output = this.#run();
    const wIn = await readElements(this.#backend, this.#weights.wIn, 0, dim * hidden);
    const wOut = await readElements(this.#backend, this.#weights.wOut, 0, dim * hidden);
    const error = new RelativeError();
    for (let sample = 0; sample < rows; sample++) {
      const token = sample === 0 ? tokens - 1 : Math.floor(((sample * 0.618034) % 1) * tokens);
      const x = await readElements(this.#backend, this.#x, token * dim, dim);
      const scores = new Float64Array(hidden);
      for (let d = 0; d < dim; d++) {
        for (let unit = 0; unit < hidden; unit++) {
          scores[unit] = (scores[unit] as number) + (x[d] as number) * (wIn[d * hidden + unit] as number);
        }
      }
      const order = Array.from(scores.keys()).sort(
        (a, b) => (scores[b] as number) - (scores[a] as number) || a - b,
      );
      const expected = new Float64Array(dim);
      for (const unit of order.slice(0, k)) {
        const active = Math.max(0, scores[unit] as number);
        for (let d = 0; d < dim; d++) {
          expected[d] = (expected[d] as number) + active * (wOut[unit * dim + d] as number);
        }
      }
      error.add(await readElements(this.#backend, output, token * dim, dim), expected);
    }
    output.dispose();
    return { rows, error: error.value };
  }

  dispose(): void {
    for (const one of [this.#x, this.#weights.wIn, this.#weights.wOut]) one.dispose();
  }
}
