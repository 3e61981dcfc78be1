/** Everything about a Toeplitz product except its tensors. */
export interface ToeplitzProductRequest {
  readonly batch: number;
  readonly heads: number;
  /** n: tokens. */
  readonly length: number;
  /** C: each is multiplied by the matrix of its head. */
  readonly columns: number;
  /** Storage type of all tensors; sums are f32. */
  readonly dtype: 'f32' | 'f16';
  /** True in training. The backward pass needs nothing but the inputs. */
  readonly saves: boolean;
}

export interface ToeplitzProductInputs<T> {
  /** [H, 2 n - 1]: the factor of distance j - i = l is at n - 1 + l. */
  readonly factors: T;
  /** [B, H, n, C] */
  readonly x: T;
}

export interface ToeplitzProductOutputs<T> {
  /** [B, H, n, C] */
  readonly output: T;
}

export interface ToeplitzProductBackwardInputs<T> extends ToeplitzProductInputs<T> {
  /** [B, H, n, C] */
  readonly dOutput: T;
}

/** Gradients under the inputs' roles. */
export interface ToeplitzProductGradients<T> {
  readonly factors: T;
  readonly x: T;
}
