import { anArray, aValue, type OptionKinds, readOptions } from '@topk-attention/core';
import { conformanceCases } from './cases/conformance-cases.js';
import type { ConformanceCase, Group } from './harness/case.js';
import {
  type ConformanceOptions,
  ConformanceRun,
  conformanceKinds,
  defaultRuns,
  defaultSeed,
  sortCases,
} from './harness/run.js';

/** The part of a test runner that the suite needs; vitest's module and Jest's globals have it. */
export interface TestRunner {
  readonly describe: (name: string, body: () => void) => unknown;
  readonly test: (name: string, body: () => Promise<void>, timeoutMilliseconds?: number) => unknown;
  readonly afterAll: (body: () => Promise<void>) => unknown;
}

export interface DescribeOptions extends ConformanceOptions {
  /** Default: vitest, imported when the suite is declared. */
  readonly runner?: TestRunner;
  /** Default: all. A backend under construction can begin with `cases: (await conformanceCases()).filter(...)`. */
  readonly cases?: readonly ConformanceCase[];
}

const kinds: OptionKinds<DescribeOptions> = {
  ...conformanceKinds,
  // A module, or an object of globals, with functions.
  runner: aValue('an object with describe, test and afterAll', (value) => Object(value) === value),
  cases: anArray(),
};

/** Ends a case that hangs; the slowest takes seconds on a quiet machine, minutes on a loaded one or a software GPU. */
const CASE_TIMEOUT_MILLISECONDS = 900_000;

/**
 * Declares the whole suite for one backend.
 *
 * @example
 * // my-backend.test.ts
 * import { describeConformance } from '@topk-attention/conformance';
 * await describeConformance({ name: 'mine', createBackend: () => createMyBackend() });
 */
export async function describeConformance(given: DescribeOptions): Promise<void> {
  const options = readOptions('describeConformance', given, kinds);
  const { describe, test, afterAll } = options.runner ?? (await import('vitest'));
  const cases = options.cases ?? (await conformanceCases());
  const run = await ConformanceRun.start(options);
  const { included, excluded, notOffered } = sortCases(cases, run.backend, options.exclusions ?? []);
  const { runs = defaultRuns(), seed = defaultSeed() } = options;
  const timeout = CASE_TIMEOUT_MILLISECONDS * Math.max(1, runs / 200);
  const titleOf = (one: ConformanceCase): string => {
    const anchors = one.anchors?.length ? ` (anchor ${one.anchors.join(', ')})` : '';
    return `${one.name}${anchors}${one.group === 'properties' ? `, ${runs} trials, seed ${seed}` : ''}`;
  };

  describe(`conformance of ${options.name}`, () => {
    const groups = new Set<Group>(cases.map((one) => one.group));
    for (const group of groups) {
      const own = included.filter((one) => one.group === group);
      if (own.length === 0) continue;
      describe(group, () => {
        for (const one of own) test(titleOf(one), () => run.run(one), timeout);
      });
    }
    if (excluded.length > 0) {
      describe('exclusions, each of which must fail', () => {
        for (const { one, exclusion } of excluded) {
          const title = `${titleOf(one)}: ${exclusion.reason}`;
          test(title, () => run.runExcluded(one, exclusion), timeout);
        }
      });
    }
    // Counted and named, so that a capability that goes missing is noticed.
    for (const reason of new Set(notOffered.map((entry) => entry.reason))) {
      const count = notOffered.filter((entry) => entry.reason === reason).length;
      test(`${count} cases do not apply: ${options.name} ${reason}`, async () => {});
    }
    afterAll(() => run.dispose());
  });
}
