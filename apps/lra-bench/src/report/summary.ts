import { mechanismTitle } from '../model/mechanism.js';
import { mechanismNames, usual } from '../model/settings.js';
import type { Configuration } from '../runs/configuration.js';
import type { ReportedRun, Section } from './collect.js';

/** Runs of a section with one mechanism. */
export interface Group {
  /** `top-k 128`, with what else tells its runs from others: see `variantTitle`. */
  readonly title: string;
  /** Class of its colour. */
  readonly className: string;
  readonly runs: readonly ReportedRun[];
  /** Test accuracies in per cent of the finished runs, by seed. */
  readonly accuracies: readonly number[];
  readonly mean?: number;
  /** Sample standard deviation, from two runs on. */
  readonly deviation?: number;
  /** Mean over the seeds that both have of this accuracy minus that of exact attention. */
  readonly minusExact?: number;
  readonly stepMs?: number;
  readonly peakBytes?: number;
}

/** The mechanisms of a section, exact first. */
export function groupsOf({ runs }: Section): readonly Group[] {
  const byTitle = new Map<string, ReportedRun[]>();
  const order = ({ configuration: { mechanism } }: ReportedRun): number =>
    1e6 * mechanismNames.indexOf(mechanism.name) + (mechanism.k ?? mechanism.features ?? 0);
  for (const run of [...runs].sort((a, b) => order(a) - order(b))) {
    const title = variantTitle(run.configuration);
    byTitle.set(title, [...(byTitle.get(title) ?? []), run]);
  }
  const exact = bySeed(byTitle.get('exact') ?? []);
  return [...byTitle].map(([title, own]) => groupOf(title, own, exact));
}

/**
 * What tells a run from others of its section and seed: the mechanism, features and landmarks that are not the usual ones,
 * ` ff 32` for a top-k feed-forward layer, ` mixed` for mixed precision, `, trimmed` for batches without all their padding.
 */
export function variantTitle({ mechanism, feedForwardK, precision, trimmed }: Configuration): string {
  const { features = usual.features, landmarks = usual.landmarks } = mechanism;
  return [
    mechanismTitle(mechanism),
    features === usual.features ? '' : `, ${features} features`,
    landmarks === usual.landmarks ? '' : `, ${landmarks} landmarks`,
    feedForwardK === undefined ? '' : ` ff ${feedForwardK}`,
    precision === undefined ? '' : ` ${precision}`,
    trimmed === true ? ', trimmed' : '',
  ].join('');
}

function groupOf(title: string, runs: readonly ReportedRun[], exact: ReadonlyMap<number, number>): Group {
  const seeds = bySeed(runs);
  const accuracies = [...seeds.values()];
  const pairs = [...seeds].flatMap(([seed, accuracy]) => {
    const other = exact.get(seed);
    return other === undefined ? [] : [accuracy - other];
  });
  const results = runs.flatMap(({ result }) => result ?? []);
  const name = runs[0]?.configuration.mechanism.name ?? 'exact';
  return {
    title,
    className: name,
    runs,
    accuracies,
    ...(accuracies.length > 0 && { mean: mean(accuracies) }),
    ...(accuracies.length > 1 && { deviation: deviationOf(accuracies) }),
    ...(title !== 'exact' && pairs.length > 0 && { minusExact: mean(pairs) }),
    ...(results.length > 0 && {
      stepMs: mean(results.map(({ stepMs }) => stepMs)),
      peakBytes: Math.max(...results.map(({ peakBytes }) => peakBytes)),
    }),
  };
}

function bySeed(runs: readonly ReportedRun[]): ReadonlyMap<number, number> {
  return new Map(
    runs.flatMap(({ configuration: { seed }, result }) =>
      result === undefined ? [] : [[seed, result.test] as const],
    ),
  );
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function deviationOf(values: readonly number[]): number {
  const middle = mean(values);
  return Math.sqrt(values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (values.length - 1));
}
