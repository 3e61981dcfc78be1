import { bootstrapMean, type Interval, meanOfGroups } from '@topk-attention/app-kit';
import type { Example } from '../datasets/example.js';
import type { Entry } from './entry.js';
import type { Variant } from './variant.js';

/** The bootstrap's seed: the same results give the same interval. */
const SEED = 2021;

interface GroupScore {
  readonly group: string;
  readonly questions: number;
  /** Per cent. */
  readonly exactMatch: number;
  readonly f1: number;
}

/** Scores of one variant, in per cent; means over groups if there are groups. */
export interface VariantSummary extends Variant {
  readonly questions: number;
  readonly exactMatch: number;
  readonly f1: number;
  /** Difference to exact, in points, paired by question, with a 95 % bootstrap interval. Absent for exact itself. */
  readonly difference?: { readonly exactMatch: Interval; readonly f1: Interval };
  /** Share of questions answered as exact answers them, in per cent. */
  readonly sameAsExact: number;
  readonly milliseconds: number;
  readonly groups: readonly GroupScore[];
}

/** Scores of every variant. `results[v][i]` is variant v's answer to example i; variant 0 is exact. */
export function summarize(
  variants: readonly Variant[],
  examples: readonly Example[],
  results: readonly (readonly Entry[])[],
): readonly VariantSummary[] {
  const members = groupMembers(examples);
  const spread = (values: readonly number[]): number[][] =>
    [...members.values()].map((indices) => indices.map((index) => values[index] as number));
  const exact = results[0] ?? [];
  return variants.map((variant, at) => {
    const entries = results[at] ?? [];
    const matches = entries.map((entry) => 100 * entry.exactMatch);
    const overlaps = entries.map((entry) => 100 * entry.f1);
    const minusExact = (values: readonly number[], pick: (entry: Entry) => number): Interval => {
      const differences = values.map((value, index) => value - 100 * pick(exact[index] as Entry));
      return bootstrapMean(spread(differences), SEED);
    };
    const same = entries.map((entry, index) => (entry.prediction === exact[index]?.prediction ? 100 : 0));
    return {
      ...variant,
      questions: entries.length,
      exactMatch: meanOfGroups(spread(matches)),
      f1: meanOfGroups(spread(overlaps)),
      ...(at > 0 && {
        difference: {
          exactMatch: minusExact(matches, (entry) => entry.exactMatch),
          f1: minusExact(overlaps, (entry) => entry.f1),
        },
      }),
      sameAsExact: meanOfGroups(spread(same)),
      milliseconds: entries.reduce((sum, entry) => sum + entry.milliseconds, 0) / entries.length,
      groups: [...members].map(([group, indices]) => ({
        group,
        questions: indices.length,
        exactMatch: meanOfGroups([indices.map((index) => matches[index] as number)]),
        f1: meanOfGroups([indices.map((index) => overlaps[index] as number)]),
      })),
    };
  });
}

/** Indices of the examples of each group, groups in order of their numbers or names. */
function groupMembers(examples: readonly Example[]): ReadonlyMap<string, readonly number[]> {
  const members = new Map<string, number[]>();
  for (const [index, { group = '' }] of examples.entries()) {
    const list = members.get(group);
    if (list === undefined) members.set(group, [index]);
    else list.push(index);
  }
  const order = new Intl.Collator('en', { numeric: true });
  return new Map([...members].sort(([a], [b]) => order.compare(a, b)));
}
