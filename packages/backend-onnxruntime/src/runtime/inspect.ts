import type { OrtTensor } from './ort.js';

/** Float32 values of an engine tensor where JavaScript can see them without a copy. */
export function floatsOf(tensor: OrtTensor): Float32Array | undefined {
  if (tensor.location !== 'cpu' || !(tensor.data instanceof Float32Array)) return undefined;
  return tensor.data;
}

/** Sums up to this cannot overflow: an f32 reaches 3.4e38, and the rest is room for rounding. */
export const LARGEST_SUM = 1e38;

/** How large the values of a tensor are. */
export interface Magnitude {
  /** The largest magnitude of a finite value. */
  readonly largest: number;
  readonly hasNaN: boolean;
  readonly hasPlusInfinity: boolean;
  readonly hasMinusInfinity: boolean;
}

const unknown: Magnitude = {
  largest: Number.POSITIVE_INFINITY,
  hasNaN: true,
  hasPlusInfinity: true,
  hasMinusInfinity: true,
};

export function areAllFinite({ hasNaN, hasPlusInfinity, hasMinusInfinity }: Magnitude): boolean {
  return !(hasNaN || hasPlusInfinity || hasMinusInfinity);
}

/**
 * Scans each tensor once and remembers the result, so the keys and values of an encoder are scanned once per layer and not
 * once per generated token. The result depends on the values alone, so any bound can be checked against it. Tensors that
 * the caller can still write to are scanned again each time.
 */
export class Magnitudes {
  readonly #known = new WeakMap<OrtTensor, Magnitude>();

  /** Values that JavaScript cannot see may be anything. */
  of(tensor: OrtTensor, isBorrowed: boolean): Magnitude {
    const known = isBorrowed ? undefined : this.#known.get(tensor);
    if (known !== undefined) return known;
    const values = floatsOf(tensor);
    const magnitude = values === undefined ? unknown : measure(values);
    if (!isBorrowed) this.#known.set(tensor, magnitude);
    return magnitude;
  }
}

function measure(values: Float32Array): Magnitude {
  let largest = 0;
  let [hasNaN, hasPlusInfinity, hasMinusInfinity] = [false, false, false];
  for (let at = 0; at < values.length; at++) {
    const value = values[at] as number;
    if (value <= largest && value >= -largest) continue;
    if (value === Number.POSITIVE_INFINITY) hasPlusInfinity = true;
    else if (value === Number.NEGATIVE_INFINITY) hasMinusInfinity = true;
    else if (Number.isNaN(value)) hasNaN = true;
    else largest = Math.abs(value);
  }
  return { largest, hasNaN, hasPlusInfinity, hasMinusInfinity };
}

/** Columns `from` to `to` of the transpose of each [rows, width] matrix: [batch, rows, width] -> [batch, width, to - from]. */
export function transposeRows(
  values: Float32Array,
  batch: number,
  rows: number,
  width: number,
  from: number,
  to: number,
): Float32Array {
  const columns = to - from;
  const result = new Float32Array(batch * width * columns);
  // Tiles that fit the first-level cache: a plain double loop misses it on every element.
  const tile = 32;
  for (let entry = 0; entry < batch; entry++) {
    const source = (entry * rows + from) * width;
    const target = entry * width * columns;
    for (let top = 0; top < columns; top += tile) {
      const bottom = Math.min(top + tile, columns);
      for (let column = 0; column < width; column++) {
        const line = target + column * columns;
        for (let row = top; row < bottom; row++) {
          result[line + row] = values[source + row * width + column] as number;
        }
      }
    }
  }
  return result;
}
