/**
 * The word of `randomBits` at four coordinates: word d mod 4 of Philox4x32-10 at the counter (a, b, c, d / 4). In 64-bit
 * integers: slower than any real implementation, and written independently of core's. Random123's known answers for
 * Philox are among the golden values.
 */
export function philoxWord(place: readonly number[], seed: number): number {
  let [c0 = 0n, c1 = 0n, c2 = 0n, d = 0n] = place.map((word) => BigInt.asUintN(32, BigInt(word)));
  let c3 = d / 4n;
  let k0 = BigInt.asUintN(32, BigInt(seed));
  let k1 = BigInt.asUintN(32, BigInt(seed) >> 32n);
  for (let round = 0; round < 10; round++) {
    const p0 = 0xd2511f53n * c0;
    const p1 = 0xcd9e8d57n * c2;
    [c0, c1, c2, c3] = [
      (p1 >> 32n) ^ c1 ^ k0,
      BigInt.asUintN(32, p1),
      (p0 >> 32n) ^ c3 ^ k1,
      BigInt.asUintN(32, p0),
    ];
    k0 = BigInt.asUintN(32, k0 + 0x9e3779b9n);
    k1 = BigInt.asUintN(32, k1 + 0xbb67ae85n);
  }
  return Number(BigInt.asIntN(32, [c0, c1, c2, c3][Number(d % 4n)] as bigint));
}
