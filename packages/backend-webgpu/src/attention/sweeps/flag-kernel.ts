import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { kernelFamily, optional, read, write } from '../../wgsl/define-kernel.js';
import { COUNTERS } from '../shared/counters.js';
import { geometryUniforms, type PartGeometry } from '../shared/geometry.js';

/**
 * Rows whose list does not decide: longer than its capacity, or shorter than k below a threshold that hid keys. They
 * go to the slow path by key head; the order does not matter, because every row there is selected on its own.
 *
 * `counters`: see `COUNTERS`; without them nothing is counted. `slow`: a count for each key head of the part, 0 beforehand,
 * then their rows.
 */
const flagKernel = kernelFamily('attention sweeps flag', ({ counts }: { readonly counts: boolean }) => ({
  uniforms: { ...geometryUniforms, capacity: 'u32', k: 'u32' },
  buffers: {
    thresholds: read('u32'),
    counts: read('u32'),
    slow: write('atomic<u32>'),
    counters: optional(counts, write('atomic<u32>')),
  },
  workgroup: 64,
  source: () => `
const LOWEST_BITS = 0xff7fffffu;

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let index = id.x + id.y * groups.x * INVOCATIONS;
  if (index >= params.heads * params.queries) { return; }
  let count = counts[index];
  let is_long = count > params.capacity;
  ${
    counts
      ? `if (index % 32u == 0u && count < 0x80000000u) {
    atomicAdd(&counters[${COUNTERS.sampledRows}], 1u);
    atomicAdd(&counters[${COUNTERS.sampledCounts}], count);
    atomicMax(&counters[${COUNTERS.longest}], count);
  }`
      : ''
  }
  if (!is_long && (count >= params.k || thresholds[index] == LOWEST_BITS)) { return; }
  let rows = params.group * params.queries;
  let key_head = index / rows;
  let place = atomicAdd(&slow[key_head], 1u);
  atomicStore(&slow[params.heads / params.group + key_head * rows + place], index % rows);
  ${
    counts
      ? `atomicAdd(&counters[${COUNTERS.flagged}], 1u);
  if (is_long) { atomicAdd(&counters[${COUNTERS.overflowed}], 1u); }`
      : ''
  }
}`,
}));

export function recordFlag(
  stream: Stream,
  geometry: PartGeometry,
  own: Readonly<Record<'capacity' | 'k', number>>,
  buffers: Readonly<Record<'thresholds' | 'counts' | 'slow', Span>> & { readonly counters: Span | undefined },
): void {
  flagKernel({ counts: buffers.counters !== undefined }).launch(stream, {
    uniforms: { ...geometry, ...own },
    buffers,
    workgroups: { invocations: geometry.heads * geometry.queries },
  });
}
