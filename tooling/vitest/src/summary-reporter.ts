import type { Reporter, TestCase, TestModule, Vitest } from 'vitest/node';
import { askedFor, leftFiles } from './slow-files.ts';
import { LEFT_TO_ALL } from './thorough.ts';

/** More tests than this of one file, skipped for one reason, are counted in one line. */
const MOST_BY_NAME = 10;

/**
 * Prints, after the run, every skipped test by name with its reason, whole suites by file and count, and what was left to
 * `pnpm test --all`: files, and tests of the files that ran.
 */
export default class SummaryReporter implements Reporter {
  #projects: readonly string[] = [];

  onInit(vitest: Vitest): void {
    this.#projects = vitest.projects.map(({ name }) => name);
  }

  onTestRunEnd(modules: readonly TestModule[]): void {
    let tests = 0;
    for (const module of modules) {
      for (const [reason, skipped] of byReason(module)) {
        if (reason === LEFT_TO_ALL) {
          tests += skipped.length;
          continue;
        }
        const names =
          skipped.length > MOST_BY_NAME
            ? [`${skipped.length} tests of ${module.relativeModuleId}`]
            : skipped.map((test) => test.fullName);
        for (const name of names) console.log(`skipped here: ${module.project.name}: ${name}: ${reason}`);
      }
    }
    const files = this.#projects.flatMap((project) => askedFor(leftFiles(project))).length;
    if (files + tests > 0)
      console.log(
        `${LEFT_TO_ALL}: ${counted(files, 'slow test file')}, and ${counted(tests, 'test')} of other files`,
      );
  }
}

function byReason(module: TestModule): Map<string, TestCase[]> {
  const groups = new Map<string, TestCase[]>();
  for (const test of module.children.allTests('skipped')) {
    const result = test.result();
    const reason = (result.state === 'skipped' && result.note) || 'no reason given';
    const group = groups.get(reason) ?? [];
    groups.set(reason, group);
    group.push(test);
  }
  return groups;
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}
