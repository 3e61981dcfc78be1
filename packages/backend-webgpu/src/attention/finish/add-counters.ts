import type { Kernel } from '../../runtime/kernel.js';
import { COUNTERS } from './candidates.js';

/** Adds the counters of a block to those of a call; the longest is a maximum. One invocation. */
export const addCounters: Kernel = {
  key: 'finish add counters',
  buffers: ['read', 'write'],
  source: () => `
@group(0) @binding(1) var<storage, read> of_block: array<u32>;
@group(0) @binding(2) var<storage, read_write> of_call: array<u32>;
@compute @workgroup_size(1)
fn main() {
  for (var i = 0u; i < ${COUNTERS.longest}u; i++) { of_call[i] += of_block[i]; }
  of_call[${COUNTERS.longest}] = max(of_call[${COUNTERS.longest}], of_block[${COUNTERS.longest}]);
}`,
};
