import { type Availability, isRequired } from './optional.ts';

/**
 * For tests that take a minute and more and say little beyond quicker ones: `TOPK_REQUIRE_THOROUGH=1` runs them, as
 * `.ci/run` does, so that `pnpm test` stays under ten minutes on two cores.
 */
export function thoroughAvailability(): Availability {
  const need = 'thorough';
  return { need, available: isRequired(need), reason: 'takes minutes; TOPK_REQUIRE_THOROUGH=1 runs it' };
}
