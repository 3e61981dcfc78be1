import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { defineKernel, read, write } from '../../wgsl/define-kernel.js';
import { COUNTERS } from '../shared/counters.js';
import { CAUTIOUS_PARTS, FLAGGED_ONE_IN } from './candidates.js';

const addCountersKernel = defineKernel({
  key: 'tensor add counters',
  uniforms: { rows: 'u32' },
  buffers: { of_part: read('u32'), of_call: write('u32') },
  workgroup: 1,
  source: () => `
@compute @workgroup_size(INVOCATIONS)
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
});

/**
 * Adds the counters of a part to those of its caller, and sets or counts down their caution. This adapts a filter to
 * the data from part to part and from call to call, without reading anything back. One invocation.
 */
export function recordAddCounters(stream: Stream, rows: number, ofPart: Span, ofCall: Span): void {
  addCountersKernel.launch(stream, {
    uniforms: { rows },
    buffers: { of_part: ofPart, of_call: ofCall },
    workgroups: 1,
  });
}
