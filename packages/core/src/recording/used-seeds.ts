/** While a step is being recorded: the seeds that random numbers were drawn with. */
let used: Set<number> | undefined;

/**
 * Tells a step that is being recorded that random numbers are drawn with a seed, so that replays bring another one. Called
 * wherever a seed reaches a backend: `randomBits` and `dropout` do so on their own, and an operation whose request has a seed
 * before it runs.
 */
export function noteSeed(seed: number): void {
  used?.add(seed);
}

/** Whether a step is being recorded. */
export function isRecording(): boolean {
  return used !== undefined;
}

/** Runs `body` and returns the seeds it drew random numbers with. */
export function withUsedSeeds<R>(body: () => R): { readonly result: R; readonly seeds: readonly number[] } {
  const outer = used;
  const own = new Set<number>();
  used = own;
  try {
    return { result: body(), seeds: [...own] };
  } finally {
    used = outer;
  }
}
