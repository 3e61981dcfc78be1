import type { Reporter, TestCase, TestModule } from 'vitest/node';

/** More tests than this of one file, skipped for one reason, are counted in one line. */
const MOST_BY_NAME = 10;

/** Prints, after the run, every skipped test by name with its reason; whole suites by file and count. */
export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    for (const module of modules) {
      for (const [reason, tests] of byReason(module)) {
        const names =
          tests.length > MOST_BY_NAME
            ? [`${tests.length} tests of ${module.relativeModuleId}`]
            : tests.map((test) => test.fullName);
        for (const name of names) console.log(`skipped here: ${module.project.name}: ${name}: ${reason}`);
      }
    }
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
