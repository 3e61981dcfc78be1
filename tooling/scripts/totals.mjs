// Prints `N passed, N failed[, N skipped]` from vitest's JSON report; fails when a test failed or none passed.
import { existsSync, readFileSync } from 'node:fs';

const file = process.argv[2] ?? 'reports/vitest.json';
if (existsSync(file)) {
  const report = JSON.parse(readFileSync(file, 'utf8'));
  const passed = report.numPassedTests;
  // A file that could not be loaded has no failed test, but is a failed suite.
  const broken = report.testResults.filter(
    (/** @type {{ status: string, assertionResults: { status: string }[] }} */ each) =>
      each.status === 'failed' && !each.assertionResults.some((result) => result.status === 'failed'),
  ).length;
  const failed = report.numFailedTests + broken;
  const skipped = report.numPendingTests + report.numTodoTests;
  console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
  // `success` is false too for an error outside every test.
  process.exitCode = report.success && failed === 0 && passed > 0 ? 0 : 1;
} else {
  console.error(`${file} is missing: no test ran.`);
  console.log('0 passed, 1 failed');
  process.exitCode = 1;
}
