import type { ConformanceCase } from './case.js';

/**
 * A sample of each kind of case: its first, every n-th after it, and those that `always` takes. Cases of a group whose
 * names begin with the same word are of one kind. For a slow engine whose code another run covers with the whole suite.
 */
export function sampleCases(
  cases: readonly ConformanceCase[],
  n: number,
  always: (one: ConformanceCase) => boolean = () => false,
): readonly ConformanceCase[] {
  const seen = new Map<string, number>();
  return cases.filter((one) => {
    if (always(one)) return true;
    const kind = kindOf(one);
    const at = seen.get(kind) ?? 0;
    seen.set(kind, at + 1);
    return at % n === 0;
  });
}

/** The group and the first word of the name; of goldens, which all begin with that word, the second as well. */
function kindOf({ group, name }: ConformanceCase): string {
  return `${group} ${/^(golden )?[a-z]*/i.exec(name)?.[0]}`;
}
