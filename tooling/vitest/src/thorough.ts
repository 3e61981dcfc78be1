import type { Availability } from './optional.ts';
import { isRequired } from './required.ts';

const need = 'thorough';

/** Why a test of the thorough run was skipped; the summary counts these instead of listing them. */
export const LEFT_TO_ALL = 'left to `pnpm test --all`';

/** Whether this run is `pnpm test --all`, which sets `TOPK_REQUIRE_THOROUGH=1`. */
export function isThorough(): boolean {
  return isRequired(need);
}

/**
 * For a slow test in a file whose other tests are quick: only `pnpm test --all` runs it. A file that is slow as a whole is
 * listed in slow-files.ts instead.
 */
export function thoroughAvailability(): Availability {
  return { need, available: isThorough(), reason: LEFT_TO_ALL };
}
