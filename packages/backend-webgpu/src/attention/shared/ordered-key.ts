/** `bits_of_key(key)`: bits of the number of an ordered key; the inverse of `key_of` (`orderedKey32`) except for -0. */
export const bitsOfKey = `
fn bits_of_key(key: u32) -> u32 {
  return key ^ select(0xffffffffu, 0x80000000u, (key & 0x80000000u) != 0u);
}`;

/** `number_of(key)`: that number; includes `bitsOfKey`. */
export const numberOfKey: string = `${bitsOfKey}
fn number_of(key: u32) -> f32 { return bitcast<f32>(bits_of_key(key)); }`;
