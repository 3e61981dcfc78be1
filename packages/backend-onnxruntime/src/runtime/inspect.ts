import type { OrtTensor } from './ort.js';

/** Float32 values of an engine tensor where JavaScript can see them without a copy. */
export function floatsOf(tensor: OrtTensor): Float32Array | undefined {
  if (tensor.location !== 'cpu' || !(tensor.data instanceof Float32Array)) return undefined;
  return tensor.data;
}

/**
 * Answers "are all values at most `largest` in size?" and remembers the answer: keys and values of an encoder are asked
 * about once per layer and not once per generated token. NaN and infinities are never within; with `orMinusInfinity`,
 * -inf is. What the caller can still write to is looked at anew each time.
 */
export class RangeChecks {
  readonly #known = new WeakMap<OrtTensor, boolean>();

  isWithin(
    tensor: OrtTensor,
    largest: number,
    { orMinusInfinity = false, isBorrowed = false }: { orMinusInfinity?: boolean; isBorrowed?: boolean } = {},
  ): boolean {
    const known = isBorrowed ? undefined : this.#known.get(tensor);
    if (known !== undefined) return known;
    const values = floatsOf(tensor);
    const answer = values !== undefined && scan(values, largest, orMinusInfinity);
    this.#known.set(tensor, answer);
    return answer;
  }
}

function scan(values: Float32Array, largest: number, orMinusInfinity: boolean): boolean {
  const smallest = -largest;
  for (let at = 0; at < values.length; at++) {
    const value = values[at] as number;
    if (value <= largest && value >= smallest) continue;
    if (orMinusInfinity && value === Number.NEGATIVE_INFINITY) continue;
    return false;
  }
  return true;
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
