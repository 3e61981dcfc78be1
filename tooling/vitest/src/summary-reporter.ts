import type { Reporter, TestCase, TestModule } from 'vitest/node';
import { leftFiles, listedName } from './slow-files.ts';
import { LEFT_TO_ALL } from './thorough.ts';

/** More tests than this of one file, skipped for one reason, are counted in one line. */
const MOST_BY_NAME = 10;

/**
 * Prints, after the run, every skipped test by name with its reason, whole suites by file and count, and how many tests
 * were left to `pnpm test --all`.
 */
export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    let left = 0;
    const filesLeft = new Set<string>();
    for (const module of modules) {
      for (const [reason, tests] of byReason(module)) {
        if (reason === LEFT_TO_ALL) {
          left += tests.length;
          filesLeft.add(module.moduleId);
          continue;
        }
        const names =
          tests.length > MOST_BY_NAME
            ? [`${tests.length} tests of ${module.relativeModuleId}`]
            : tests.map((test) => test.fullName);
        for (const name of names) console.log(`skipped here: ${module.project.name}: ${name}: ${reason}`);
      }
    }
    if (left > 0) console.log(`${LEFT_TO_ALL}: ${left} tests (files: ${filesLeft.size})`);
  }
}

function byReason(module: TestModule): Map<string, TestCase[]> {
  const isLeft = leftFiles().includes(listedName(module.moduleId) ?? '');
  const groups = new Map<string, TestCase[]>();
  for (const test of module.children.allTests('skipped')) {
    const result = test.result();
    const note = result.state === 'skipped' ? result.note : undefined;
    const reason = note || (isLeft ? LEFT_TO_ALL : 'no reason given');
    const group = groups.get(reason) ?? [];
    groups.set(reason, group);
    group.push(test);
  }
  return groups;
}
