// Prints the failed tests of vitest's JSON report, each with the head of its message, then
// `N passed, N failed[, N skipped]`; fails when a test failed or none passed.
import { existsSync, readFileSync } from 'node:fs';
import { relative } from 'node:path';

/** Lines of a failed test's message that are printed: what was expected and what was got, not the stack. */
const MESSAGE_LINES = 4;

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
  for (const each of report.testResults) {
    const name = relative(process.cwd(), each.name);
    const failures = each.assertionResults.filter(
      (/** @type {{ status: string }} */ result) => result.status === 'failed',
    );
    for (const { fullName, failureMessages } of failures) said(`${name} > ${fullName}`, failureMessages?.[0]);
    if (each.status === 'failed' && failures.length === 0) said(name, each.message);
  }
  const skipped = report.numPendingTests + report.numTodoTests;
  console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
  // `success` is false too for an error outside every test.
  process.exitCode = report.success && failed === 0 && passed > 0 ? 0 : 1;
} else {
  console.error(`${file} is missing: no test ran.`);
  console.log('0 passed, 1 failed');
  process.exitCode = 1;
}

/**
 * @param {string} name
 * @param {string | undefined} message
 */
function said(name, message) {
  console.log(`failed: ${name}`);
  const lines = (message ?? '').split('\n').filter((line) => line.trim() !== '');
  for (const line of lines.slice(0, MESSAGE_LINES)) console.log(`  ${line}`);
}
