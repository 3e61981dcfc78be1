import type { ConformanceCase, Group } from './case.js';

/**
 * A sample of each group: its first case, every n-th after it, and those that `always` takes. For a slow engine whose
 * code another run covers with the whole suite.
 */
export function sampleCases(
  cases: readonly ConformanceCase[],
  n: number,
  always: (one: ConformanceCase) => boolean = () => false,
): readonly ConformanceCase[] {
  const seen = new Map<Group, number>();
  return cases.filter((one) => {
    if (always(one)) return true;
    const at = seen.get(one.group) ?? 0;
    seen.set(one.group, at + 1);
    return at % n === 0;
  });
}
