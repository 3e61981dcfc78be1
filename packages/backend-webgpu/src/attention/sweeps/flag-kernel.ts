import type { Kernel } from '../../runtime/kernel.js';
import { bindings } from '../shared/bindings.js';
import { COUNTERS } from '../shared/counters.js';
import { geometryStruct } from '../shared/geometry.js';

export const FLAG_INVOCATIONS = 64;

/**
 * Rows whose list does not decide: longer than its capacity, or shorter than k below a threshold that hid keys. Their
 * rows, by key head, go to the slow path; the order does not matter, every row there is selected on its own.
 *
 * `own`: capacity, k. `counters`: see `COUNTERS`. `slow`: a count for each key head of the part, cleared beforehand, then their rows.
 */
export const flagKernel: Kernel = {
  key: 'attention sweeps flag',
  buffers: ['read', 'read', 'write', 'write'],
  source: () => `
${geometryStruct}
${bindings([
  'read> thresholds: array<u32>',
  'read> counts: array<u32>',
  'read_write> slow: array<atomic<u32>>',
  'read_write> counters: array<atomic<u32>>',
])}
const LOWEST_BITS = 0xff7fffffu;

@compute @workgroup_size(${FLAG_INVOCATIONS})
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let index = id.x + id.y * groups.x * ${FLAG_INVOCATIONS}u;
  if (index >= params.heads * params.queries) { return; }
  let count = counts[index];
  let is_long = count > params.own.x;
  if (index % 32u == 0u && count < 0x80000000u) {
    atomicAdd(&counters[${COUNTERS.sampledRows}], 1u);
    atomicAdd(&counters[${COUNTERS.sampledCounts}], count);
    atomicMax(&counters[${COUNTERS.longest}], count);
  }
  if (!is_long && (count >= params.own.y || thresholds[index] == LOWEST_BITS)) { return; }
  let rows = params.group * params.queries;
  let key_head = index / rows;
  let place = atomicAdd(&slow[key_head], 1u);
  atomicStore(&slow[params.heads / params.group + key_head * rows + place], index % rows);
  atomicAdd(&counters[${COUNTERS.flagged}], 1u);
  if (is_long) { atomicAdd(&counters[${COUNTERS.overflowed}], 1u); }
}`,
};
