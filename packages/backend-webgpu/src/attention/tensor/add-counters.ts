import type { Kernel } from '../../runtime/kernel.js';
import { COUNTERS } from '../shared/counters.js';
import { CAUTIOUS_PARTS, FLAGGED_ONE_IN } from './candidates.js';

/**
 * Adds the counters of a part to those of its caller, and sets or counts down their caution. So a filter adapts to the
 * data from part to part and from call to call, and nothing is read back. One invocation.
 */
export const addCounters: Kernel = {
  key: 'tensor add counters',
  buffers: ['read', 'write'],
  source: () => `
struct Params { rows: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> of_part: array<u32>;
@group(0) @binding(2) var<storage, read_write> of_call: array<u32>;
@compute @workgroup_size(1)
fn main() {
  for (var i = 0u; i < ${COUNTERS.longest}u; i++) { of_call[i] += of_part[i]; }
  of_call[${COUNTERS.longest}] = max(of_call[${COUNTERS.longest}], of_part[${COUNTERS.longest}]);
  of_call[${COUNTERS.rows}] += params.rows;
  let flagged = of_part[${COUNTERS.flagged}];
  of_call[${COUNTERS.flaggedInLast}] = flagged;
  let caution = of_call[${COUNTERS.caution}];
  let is_rare = flagged <= params.rows / ${FLAGGED_ONE_IN}u;
  of_call[${COUNTERS.caution}] = select(${CAUTIOUS_PARTS}u, max(caution, 1u) - 1u, is_rare || caution != 0u);
}`,
};
