import type { OrtModule, OrtTensor } from './ort.js';

/** A result [groups, length, width] that is filled chunk by chunk along its rows. Allocated once; no chunk is kept. */
export class JoinedRows {
  readonly width: number;
  readonly #type: string;
  readonly #groups: number;
  readonly #length: number;
  readonly #values: Float32Array | Int32Array;

  constructor(first: OrtTensor, groups: number, length: number, width: number) {
    this.width = width;
    this.#type = first.type;
    this.#groups = groups;
    this.#length = length;
    const size = groups * length * width;
    this.#values = first.type === 'int32' ? new Int32Array(size) : new Float32Array(size);
  }

  /** Writes `rows` rows of every group, beginning at row `start`. */
  put(part: OrtTensor, start: number, rows: number): void {
    const source = part.data as Float32Array | Int32Array;
    const size = rows * this.width;
    for (let group = 0; group < this.#groups; group++) {
      const target = (group * this.#length + start) * this.width;
      this.#values.set(source.subarray(group * size, (group + 1) * size), target);
    }
    part.dispose();
  }

  tensor(ort: OrtModule, shape: readonly number[]): OrtTensor {
    return new ort.Tensor(this.#type, this.#values, shape);
  }
}
