import {
  aFunction,
  aNumber,
  anArray,
  aString,
  aValue,
  type Backend,
  type OptionKinds,
  readOptions,
  required,
} from '@topk-attention/core';
import type { ConformanceCase, ConformanceContext, Tolerances } from './case.js';
import type { Exclusion } from './exclusions.js';
import { check } from './support/assert.js';

export const defaultTolerances: Tolerances = {
  f32: { absolute: 2e-5, relative: 2e-5 },
  f16: { absolute: 4e-3, relative: 4e-3 },
  f64: { absolute: 1e-11, relative: 1e-11 },
};

export interface ConformanceOptions {
  /** Named in the titles of the tests. */
  readonly name: string;
  /** Creates a fresh backend. Called once for most cases together, and again for each that needs its own. */
  readonly createBackend: () => Backend | Promise<Backend>;
  /** Wider or narrower than the default, by storage type. */
  readonly tolerance?: Partial<Tolerances>;
  /** Known failures with their reasons; each must fail. Default: none. */
  readonly exclusions?: readonly Exclusion[];
  /**
   * Random trials per property; with fewer than 100, cases of many combinations take a third. Default: the environment's
   * TOPK_FUZZ_RUNS, or 200.
   */
  readonly runs?: number;
  /** Calls after each of which the live bytes must be the same. Default: 1,000. */
  readonly calls?: number;
  /** Seed of the properties; printed in their titles. Default: the environment's TOPK_FUZZ_SEED, or 20210613. */
  readonly seed?: number;
}

export const conformanceKinds: OptionKinds<ConformanceOptions> = {
  name: required(aString),
  createBackend: required(aFunction()),
  tolerance: aValue('an object of tolerances', (value) => typeof value === 'object' && value !== null),
  exclusions: anArray(),
  runs: aNumber,
  calls: aNumber,
  seed: aNumber,
};

/** A whole number from the environment, if there is one: browsers have none. */
function fromEnvironment(name: string, otherwise: number): number {
  const value = globalThis.process?.env?.[name];
  return value === undefined || value === '' ? otherwise : Number.parseInt(value, 10);
}

/** Day on which the paper was posted; any number would do. */
export const defaultSeed = (): number => fromEnvironment('TOPK_FUZZ_SEED', 20210613);
export const defaultRuns = (): number => fromEnvironment('TOPK_FUZZ_RUNS', 200);

/** One backend under test, with the backends that its cases made. */
export class ConformanceRun {
  readonly #options: ConformanceOptions;
  #backend: Backend;
  /** Identifies the case that is running. */
  #running: object | undefined;
  /** Backends of cases that a test runner gave up on, but that are still running. */
  readonly #givenUp: Backend[] = [];

  private constructor(backend: Backend, options: ConformanceOptions) {
    this.#backend = backend;
    this.#options = options;
  }

  /** The backend that most cases share. */
  get backend(): Backend {
    return this.#backend;
  }

  static async start(options: ConformanceOptions): Promise<ConformanceRun> {
    return new ConformanceRun(await options.createBackend(), options);
  }

  /** Runs one case; afterwards the shared backend holds what it held before. */
  async run(one: ConformanceCase): Promise<void> {
    // A case past its time limit is reported but not stopped: what it still allocates and frees must not count
    // for the next.
    if (this.#running !== undefined) {
      this.#givenUp.push(this.#backend);
      this.#backend = await this.#options.createBackend();
    }
    const own = {};
    this.#running = own;
    const backend = this.#backend;
    const live = backend.memory().live;
    const made: Backend[] = [];
    try {
      await one.run(this.#context(made));
    } finally {
      if (this.#running === own) this.#running = undefined;
      for (const each of made) await each.dispose();
    }
    const left = backend.memory().live - live;
    check(left === 0, `the case left ${left} bytes live: something was not released`);
  }

  /** Runs an excluded case: fails when the case passes. */
  async runExcluded(one: ConformanceCase, exclusion: Exclusion): Promise<void> {
    const passed = await this.run(one).then(
      () => true,
      () => false,
    );
    check(!passed, `the case passes now, so its exclusion has to go ("${exclusion.reason}")`);
  }

  async dispose(): Promise<void> {
    for (const backend of [this.#backend, ...this.#givenUp.splice(0)]) await backend.dispose();
  }

  #context(made: Backend[]): ConformanceContext {
    const { runs = defaultRuns(), calls = 1000, seed = defaultSeed() } = this.#options;
    const tolerances = { ...defaultTolerances, ...this.#options.tolerance };
    return {
      backend: this.backend,
      createBackend: async () => {
        const backend = await this.#options.createBackend();
        made.push(backend);
        return backend;
      },
      tolerance: tolerances[this.backend.capabilities.floatStorage],
      tolerances,
      runs,
      calls,
      seed,
    };
  }
}

/** The cases of a backend, split by what applies to it. */
export interface SortedCases {
  readonly included: readonly ConformanceCase[];
  readonly excluded: readonly { readonly one: ConformanceCase; readonly exclusion: Exclusion }[];
  /** Not offered by the backend's own capabilities, with the reason. */
  readonly notOffered: readonly { readonly one: ConformanceCase; readonly reason: string }[];
}

export function sortCases(
  cases: readonly ConformanceCase[],
  backend: Backend,
  exclusions: readonly Exclusion[],
): SortedCases {
  const unknown = exclusions.filter(({ name }) => !cases.some((one) => one.name === name));
  check(unknown.length === 0, `no case is called ${unknown.map(({ name }) => `"${name}"`).join(', ')}`);
  const excluded = exclusions.flatMap((exclusion) =>
    cases.filter((one) => one.name === exclusion.name).map((one) => ({ one, exclusion })),
  );
  const others = cases.filter((one) => !exclusions.some(({ name }) => name === one.name));
  const notOffered = others.flatMap((one) => {
    const reason = one.notFor?.(backend.capabilities);
    return reason === undefined ? [] : [{ one, reason }];
  });
  const included = others.filter((one) => !notOffered.some((other) => other.one === one));
  return { included, excluded, notOffered };
}

export interface CaseReport {
  readonly name: string;
  readonly group: string;
  readonly outcome: 'passed' | 'failed' | 'excluded' | 'not offered';
  readonly message?: string;
}

/** Runs cases without a test runner, for example on a web page. Never rejects because of a case. */
export async function runConformance(
  given: ConformanceOptions,
  cases: readonly ConformanceCase[],
): Promise<readonly CaseReport[]> {
  const options = readOptions('runConformance', given, conformanceKinds);
  const run = await ConformanceRun.start(options);
  try {
    const sorted = sortCases(cases, run.backend, options.exclusions ?? []);
    const reports: CaseReport[] = sorted.notOffered.map(({ one, reason }) => ({
      name: one.name,
      group: one.group,
      outcome: 'not offered',
      message: reason,
    }));
    const attempt = async (
      one: ConformanceCase,
      outcome: 'passed' | 'excluded',
      work: Promise<void>,
    ): Promise<void> => {
      try {
        await work;
        reports.push({ name: one.name, group: one.group, outcome });
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        reports.push({ name: one.name, group: one.group, outcome: 'failed', message });
      }
    };
    for (const one of sorted.included) await attempt(one, 'passed', run.run(one));
    for (const { one, exclusion } of sorted.excluded) {
      await attempt(one, 'excluded', run.runExcluded(one, exclusion));
    }
    return reports;
  } finally {
    await run.dispose();
  }
}
