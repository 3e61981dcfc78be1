const scratch = new DataView(new ArrayBuffer(4));

/** The nearest f16 of a number, halfway cases to even, from its double: no second rounding via f32. */
export function halfBits(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(value);
  // Halfway between the largest half, 65504, and the step after it.
  if (magnitude >= 65520) return sign | 0x7c00;
  // The step of the halves around the number; all subnormals have the step at 2^-14.
  scratch.setFloat32(0, magnitude);
  const exponent = Math.max(-14, (scratch.getUint32(0) >>> 23) - 127);
  const steps = magnitude / 2 ** (exponent - 10);
  const down = Math.floor(steps);
  const up = steps - down > 0.5 || (steps - down === 0.5 && down % 2 === 1);
  // A carry into the next exponent gives the right number without further work.
  return sign | (((exponent + 14) << 10) + down + (up ? 1 : 0));
}
