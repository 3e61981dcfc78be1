import type { Reporter, TestModule } from 'vitest/node';

/** Prints, after the run, every skipped test by name with its reason. */
export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    for (const module of modules) {
      for (const test of module.children.allTests('skipped')) {
        const result = test.result();
        const reason = (result.state === 'skipped' && result.note) || 'no reason given';
        console.log(`skipped here: ${module.project.name}: ${test.fullName}: ${reason}`);
      }
    }
  }
}
