/**
 * position * base^(-2 i / width) for positions from `offset` on and pairs i of `width` elements, row-major: [length, pairs].
 * Each power is computed once.
 */
export function positionAngles(offset: number, length: number, width: number, base: number): Float64Array {
  const pairs = Math.ceil(width / 2);
  const powers = Float64Array.from({ length: pairs }, (_, pair) => base ** ((-2 * pair) / width));
  const angles = new Float64Array(length * pairs);
  for (let row = 0; row < length; row++) {
    angles.set(
      powers.map((power) => (offset + row) * power),
      row * pairs,
    );
  }
  return angles;
}
