import { type TestContext, test } from 'vitest';
import { isRequired, requireVariable } from './required.ts';

/** Whether something a test needs is on this machine. `need` names the variable that turns a skip into a failure. */
export interface Availability {
  /** `browser` is demanded by `TOPK_REQUIRE_BROWSER=1`, `software-gpu` by `TOPK_REQUIRE_SOFTWARE_GPU=1`, and so on. */
  readonly need: string;
  readonly available: boolean;
  /** Why it is missing. Printed beside the test's name at the end of the run. */
  readonly reason: string;
}

/**
 * A test that needs something not every machine has, or several things. Where one is missing the test counts as skipped
 * and is listed by name with the reason; where it is required (`TOPK_REQUIRE_<NEED>=1`, as in CI) it fails instead.
 *
 * @example
 * optional('matmul in headless Chromium', await browserAvailability(), async () => { ... });
 */
export function optional(
  name: string,
  availability: Availability | readonly Availability[],
  body: (context: TestContext) => void | Promise<void>,
  timeout?: number,
): void {
  const missing = [availability].flat().filter(({ available }) => !available);
  const run = async (context: TestContext): Promise<void> => {
    const required = missing.find(({ need }) => isRequired(need));
    if (required !== undefined) {
      const { need, reason } = required;
      throw new Error(`${requireVariable(need)} is set, but ${need} is missing: ${reason}`);
    }
    if (missing[0] !== undefined) context.skip(missing[0].reason);
    await body(context);
  };
  if (timeout === undefined) test(name, run);
  else test(name, run, timeout);
}
