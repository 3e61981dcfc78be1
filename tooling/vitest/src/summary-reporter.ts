import type { Reporter, TestModule } from 'vitest/node';

/** Prints, after the run, every skipped test by name with its reason, and one line with the totals. */
export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    const count = { passed: 0, failed: 0, skipped: 0, pending: 0 };
    const skipped: string[] = [];
    let brokenFiles = 0;
    for (const module of modules) {
      if (module.errors().length > 0) brokenFiles += 1;
      for (const test of module.children.allTests()) {
        const result = test.result();
        count[result.state] += 1;
        if (result.state === 'skipped') {
          skipped.push(`${module.project.name}: ${test.fullName}: ${result.note ?? 'no reason given'}`);
        }
      }
    }
    for (const line of skipped) console.log(`skipped here: ${line}`);
    const failed = count.failed + count.pending + brokenFiles + errors.length;
    const skips = count.skipped > 0 ? `, ${count.skipped} skipped` : '';
    console.log(`${count.passed} passed, ${failed} failed${skips}`);
  }
}
