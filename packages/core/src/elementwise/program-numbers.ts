import { TopKError } from '../contract/errors.js';
import { formatShape } from '../contract/shape.js';
import { reshape, slice } from '../ops/layout.js';
import { requireTensor } from '../tensor/require-tensor.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';

/** Numbers for elementwise programs, as a tensor, so that they may differ at every training step. */
export class ProgramNumbers {
  /** f32 [n] */
  readonly vector: Tensor;
  readonly #single = new Map<number, Tensor>();

  /** @param vector f32 [n]; it stays the caller's */
  constructor(vector: Tensor) {
    requireTensor('ProgramNumbers', 'vector', vector);
    if (vector.rank !== 1 || vector.dtype !== 'f32') {
      throw new TopKError('SHAPE_MISMATCH', 'ProgramNumbers: the vector has the wrong dtype or shape', {
        expected: 'f32 [n]',
        got: `${vector.dtype} ${formatShape(vector.shape)}`,
      });
    }
    this.vector = vector;
  }

  /** One number, shape []; made once, and freed by `dispose`. */
  at(index: number): Tensor {
    const known = this.#single.get(index);
    if (known !== undefined) return known;
    const made = scope(() => reshape(slice(this.vector, [index], [1]), []).unscopedAlias());
    this.#single.set(index, made);
    return made;
  }

  dispose(): void {
    for (const one of this.#single.values()) one.dispose();
    this.#single.clear();
  }
}
