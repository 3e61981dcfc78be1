import { randomBelow } from './random.ts';

/** Trials of a property over broken files: TOPK_FUZZ_RUNS, or a few. */
export const fuzzRuns: number = Number(process.env.TOPK_FUZZ_RUNS || 150);
export const fuzzSeed: number = Number(process.env.TOPK_FUZZ_SEED || 20_210_613);

/** Numbers that lengths and places break at. */
const numbers = [0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff];

/** A file with a few faults: bits, bytes and numbers changed, parts cut, moved, repeated. Seeded. */
export function mutated(original: Uint8Array, seed: number): Uint8Array {
  const random = randomBelow(seed);
  let bytes = Buffer.from(original);
  for (let left = 1 + random(4); left > 0 && bytes.length > 8; left--) {
    // Most faults at the two ends, where headers and directories are.
    const reach = [64, 512, bytes.length][random(3)] as number;
    const near = random(Math.min(reach, bytes.length));
    const at = random(2) === 0 ? near : bytes.length - 1 - near;
    const length = 1 + random(24);
    switch (random(7)) {
      case 0:
        bytes[at] = (bytes[at] as number) ^ (1 << random(8));
        break;
      case 1:
        bytes[at] = random(256);
        break;
      case 2:
        if (at + 4 <= bytes.length) bytes.writeUInt32LE(numbers[random(numbers.length)] as number, at);
        break;
      case 3:
        bytes = bytes.subarray(0, at);
        break;
      case 4:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
        break;
      case 5:
        bytes = Buffer.concat([bytes.subarray(0, at + length), bytes.subarray(at)]);
        break;
      default: {
        const from = random(bytes.length);
        bytes.copy(bytes, at, from, from + length);
      }
    }
  }
  return new Uint8Array(bytes);
}

/** What stands in place of a part: values of other kinds, and names that objects have by themselves. */
const others: readonly unknown[] = [
  ...[null, true, 0, -1, 0.5, 1e300, 2 ** 31, '', 'x', 'constructor', '__proto__'],
  ...[[], [[]], {}, { type: 'x' }],
];

/** JSON with one to three of its parts removed, repeated or exchanged for others. Seeded. */
export function mutatedJson(original: string, seed: number): string {
  const random = randomBelow(seed);
  const whole: { [key: string]: unknown } = { value: JSON.parse(original) };
  for (let left = 1 + random(3); left > 0; left--) {
    let [parent, key] = [whole, 'value'];
    for (
      let part = whole.value;
      typeof part === 'object' && part !== null && random(4) > 0;
      part = parent[key]
    ) {
      const keys = Object.keys(part);
      if (keys.length === 0) break;
      [parent, key] = [part as { [key: string]: unknown }, keys[random(keys.length)] as string];
    }
    const choice = random(4);
    if (choice === 0 && parent !== whole) delete parent[key];
    else if (choice === 1) parent[key] = [parent[key], parent[key]];
    else parent[key] = structuredClone(others[random(others.length)]);
  }
  return JSON.stringify(whole.value ?? null);
}
