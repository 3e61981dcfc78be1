import type { AttentionRequest } from '@topk-attention/core/backend';
import { ALIGNMENT, windowOf } from '../../../runtime/binding.js';
import type { Span } from '../../../runtime/kernel.js';
import type { Stream } from '../../../runtime/stream.js';
import type { View } from '../../../runtime/view.js';
import { defineKernel, read, readFrom, writeTo } from '../../../wgsl/define-kernel.js';
import { groupIndex, groupReductions } from '../../shared/reductions.js';
import type { Group } from '../layout/groups.js';
import { biasOffset } from './bias.js';
import { headRuns } from './head-runs.js';

const INVOCATIONS = 64;

/** An unused entry has a score of -inf; a NaN elsewhere in its row is not its own. */
const gradientOfSlot = `
fn gradient_of(slot: u32) -> f32 {
  return select(weights[params.first_slot + slot].y, 0.0, scores[params.scores_base + slot] == 0xff800000u);
}`;

/** A bias of [.., Lq, M]: adds dS of every entry. One invocation per entry. */
const everyEntryKernel = defineKernel({
  key: 'attention-backward entry-bias every',
  uniforms: { count: 'u32', first_slot: 'u32' },
  buffers: { scores: readFrom('u32'), weights: read('vec2f'), bias: writeTo('f32') },
  workgroup: INVOCATIONS,
  source: () => `
${groupIndex}
${gradientOfSlot}
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let slot = group_index(group, groups) * INVOCATIONS + t;
  if (slot < params.count) { bias[params.bias_base + slot] += gradient_of(slot); }
}`,
});

/** A bias of [.., 1, M]: adds dS of one entry of all queries of a head. One workgroup per entry. */
const sharedEntryKernel = defineKernel({
  key: 'attention-backward entry-bias shared',
  uniforms: { rows: 'u32', slots: 'u32', first_slot: 'u32' },
  buffers: { scores: readFrom('u32'), weights: read('vec2f'), bias: writeTo('f32') },
  workgroup: INVOCATIONS,
  source: () => `
${groupIndex}
${groupReductions(INVOCATIONS)}
${gradientOfSlot}
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let entry = group_index(group, groups);
  if (entry >= params.slots) { return; }
  var sum = 0.0;
  for (var row = t; row < params.rows; row += INVOCATIONS) { sum += gradient_of(row * params.slots + entry); }
  sum = sum_of_group(sum, t);
  if (t == 0u) { bias[params.bias_base + entry] += sum; }
}`,
});

/**
 * Adds the group's part of the gradient of a bias that has a number for each entry of the lists, [.., Lq, M] or
 * [.., 1, M]. Heads run one after the other: where they share the bias, their order is the order of summation.
 */
export function recordBiasOfEntries(
  stream: Stream,
  request: AttentionRequest,
  group: Group,
  scores: View,
  weights: Span,
  bias: View,
): void {
  const slots = request.k as number;
  const isShared = bias.shape[2] === 1;
  const most = Math.max(1, Math.floor((stream.facts.bindingBytes - ALIGNMENT) / (4 * slots)));
  for (const { head, firstQuery, firstRow, rows } of headRuns(request, group, most)) {
    const first_slot = (firstRow - group.firstRow) * slots;
    const offset = biasOffset(request, bias.shape, { head, firstQuery });
    const own = { scores: windowOf(scores, firstRow * slots, rows * slots), weights };
    if (isShared) {
      sharedEntryKernel.launch(stream, {
        uniforms: { rows, slots, first_slot },
        buffers: { ...own, bias: windowOf(bias, offset, slots) },
        workgroups: slots,
      });
    } else {
      everyEntryKernel.launch(stream, {
        uniforms: { count: rows * slots, first_slot },
        buffers: { ...own, bias: windowOf(bias, offset, rows * slots) },
        workgroups: Math.ceil((rows * slots) / INVOCATIONS),
      });
    }
  }
}
