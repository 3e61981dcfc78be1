/** Name of the variable that turns skips for this need into failures: `TOPK_REQUIRE_SOFTWARE_GPU` and so on. */
export function requireVariable(need: string): string {
  return `TOPK_REQUIRE_${need.toUpperCase().replaceAll('-', '_')}`;
}

/** True when the caller of the test run insists that tests with this need are run. */
export function isRequired(need: string): boolean {
  const value = process.env[requireVariable(need)];
  return value !== undefined && value !== '' && value !== '0';
}
