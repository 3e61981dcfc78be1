/** 32 bits at a time, as whole numbers from 0, from a seed (mulberry32): the same sequence on every machine. */
export function randomBits(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let bits = Math.imul(state ^ (state >>> 15), 1 | state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return (bits ^ (bits >>> 14)) >>> 0;
  };
}

/** Whole numbers below a limit, from a seed. */
export function randomBelow(seed: number): (limit: number) => number {
  const next = randomBits(seed);
  return (limit) => next() % limit;
}
