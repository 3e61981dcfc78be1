import type { Shape } from '@topk-attention/core';
import { type AttentionRequest, groupSize } from '@topk-attention/core/backend';
import { ALIGNMENT, wholeOf, windowOf } from '../../../runtime/binding.js';
import type { Span } from '../../../runtime/kernel.js';
import type { Stream } from '../../../runtime/stream.js';
import type { View } from '../../../runtime/view.js';
import { defineKernel, read, readFrom, writeTo } from '../../../wgsl/define-kernel.js';
import { groupIndex, groupReductions } from '../../shared/reductions.js';
import type { Group } from '../layout/groups.js';
import { type HeadRun, headRuns } from './head-runs.js';

const INVOCATIONS = 64;

const main = `
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32)`;

/** A bias of [.., Lq, Lk]: adds every dS to its place. One workgroup per query, whose kept keys are all different. */
const spreadKernel = defineKernel({
  key: 'attention-backward bias spread',
  uniforms: { rows: 'u32', slots: 'u32', keys: 'u32', first_slot: 'u32' },
  buffers: { indices: readFrom('i32'), weights: read('vec2f'), bias: writeTo('f32') },
  workgroup: INVOCATIONS,
  source: () => `
${groupIndex}
${main} {
  let row = group_index(group, groups);
  if (row >= params.rows) { return; }
  for (var s = t; s < params.slots; s += INVOCATIONS) {
    let slot = row * params.slots + s;
    let key = indices[params.indices_base + slot];
    if (key >= 0) { bias[params.bias_base + row * params.keys + u32(key)] += weights[params.first_slot + slot].y; }
  }
}`,
});

/** A bias of [.., Lq, 1]: adds the sum of dS over the slots of each query. One workgroup per query. */
const rowSumKernel = defineKernel({
  key: 'attention-backward bias row-sum',
  uniforms: { rows: 'u32', slots: 'u32', first_slot: 'u32', adds: 'u32' },
  buffers: { weights: read('vec2f'), bias: writeTo('f32') },
  workgroup: INVOCATIONS,
  source: () => `
${groupIndex}
${groupReductions(INVOCATIONS)}
${main} {
  let row = group_index(group, groups);
  if (row >= params.rows) { return; }
  var sum = 0.0;
  for (var s = t; s < params.slots; s += INVOCATIONS) { sum += weights[params.first_slot + row * params.slots + s].y; }
  sum = sum_of_group(sum, t);
  if (t == 0u) {
    if (params.adds != 0u) { sum += bias[params.bias_base + row]; }
    bias[params.bias_base + row] = sum;
  }
}`,
});

/** A bias of [.., 1, 1]: adds the sums of all queries of one head. One workgroup. */
const totalKernel = defineKernel({
  key: 'attention-backward bias total',
  uniforms: { rows: 'u32' },
  buffers: { sums: read('f32'), bias: writeTo('f32') },
  workgroup: INVOCATIONS,
  source: () => `
${groupReductions(INVOCATIONS)}
${main} {
  var sum = 0.0;
  for (var row = t; row < params.rows; row += INVOCATIONS) { sum += sums[row]; }
  sum = sum_of_group(sum, t);
  if (t == 0u) { bias[params.bias_base] += sum; }
}`,
});

/** A bias of [.., 1, Lk]: adds, for each key, the dS of one head's queries. One workgroup per key. */
const keySumKernel = defineKernel({
  key: 'attention-backward bias key-sum',
  uniforms: { keys: 'u32', first_range: 'u32', first_row: 'u32', end_row: 'u32' },
  buffers: {
    ranges: read('vec2u'),
    sorted_rows: read('u32'),
    sorted_weights: read('vec2f'),
    bias: writeTo('f32'),
  },
  workgroup: INVOCATIONS,
  source: () => `
${groupIndex}
${groupReductions(INVOCATIONS)}
${main} {
  let key = group_index(group, groups);
  if (key >= params.keys) { return; }
  let range = ranges[params.first_range + key];
  var sum = 0.0;
  for (var entry = range.x + t; entry < range.x + range.y; entry += INVOCATIONS) {
    let row = sorted_rows[entry];
    if (row >= params.first_row && row < params.end_row) { sum += sorted_weights[entry].y; }
  }
  sum = sum_of_group(sum, t);
  if (t == 0u) { bias[params.bias_base + key] += sum; }
}`,
});

/** Where the part of the bias for a head's query begins. */
export function biasOffset(
  request: AttentionRequest,
  shape: Shape,
  run: Pick<HeadRun, 'head' | 'firstQuery'>,
): number {
  const [batches = 1, heads = 1, queries = 1, keys = 1] = shape;
  const batch = batches === 1 ? 0 : Math.floor(run.head / request.queryHeads);
  const head = heads === 1 ? 0 : run.head % request.queryHeads;
  const query = queries === 1 ? 0 : run.firstQuery;
  return ((batch * heads + head) * queries + query) * keys;
}

/**
 * Adds the group's part of the gradient of a bias that varies by query, or by neither query nor key. Heads run one
 * after the other: where they share the bias, their order is the order of summation. `weights` holds a pair for every
 * slot of the group.
 */
export function recordBiasOfRows(
  stream: Stream,
  request: AttentionRequest,
  group: Group,
  indices: View,
  weights: Span,
  bias: View,
): void {
  const slots = request.k as number;
  const [, , queries, keys] = bias.shape as readonly [number, number, number, number];
  const rowBytes = 4 * keys;
  const most = Math.max(1, Math.floor((stream.facts.bindingBytes - ALIGNMENT) / rowBytes));
  for (const { head, firstQuery, firstRow, rows } of headRuns(request, group, most)) {
    const first_slot = (firstRow - group.firstRow) * slots;
    const offset = biasOffset(request, bias.shape, { head, firstQuery });
    if (queries === 1) {
      const sums = stream.scratch(4 * rows);
      rowSumKernel.launch(stream, {
        uniforms: { rows, slots, first_slot, adds: 0 },
        buffers: { weights, bias: wholeOf(sums) },
        workgroups: rows,
      });
      totalKernel.launch(stream, {
        uniforms: { rows },
        buffers: { sums, bias: windowOf(bias, offset, 1) },
        workgroups: 1,
      });
      stream.release(sums);
    } else if (keys === 1) {
      rowSumKernel.launch(stream, {
        uniforms: { rows, slots, first_slot, adds: 1 },
        buffers: { weights, bias: windowOf(bias, offset, rows) },
        workgroups: rows,
      });
    } else {
      spreadKernel.launch(stream, {
        uniforms: { rows, slots, keys, first_slot },
        buffers: {
          indices: windowOf(indices, firstRow * slots, rows * slots),
          weights,
          bias: windowOf(bias, offset, rows * keys),
        },
        workgroups: rows,
      });
    }
  }
}

/** Adds the group's part of the gradient of a bias [.., 1, Lk], from the entries sorted by key. */
export function recordBiasOfKeys(
  stream: Stream,
  request: AttentionRequest,
  group: Group,
  sorted: Readonly<Record<'ranges' | 'rows' | 'weights', Span>>,
  bias: View,
): void {
  const { keyLength, queryLength } = request;
  const unitRows = groupSize(request) * queryLength;
  for (const run of headRuns(request, group, Number.POSITIVE_INFINITY)) {
    const unit = Math.floor(run.firstRow / unitRows) - group.firstUnit;
    const first = run.firstRow - group.firstRow;
    keySumKernel.launch(stream, {
      uniforms: {
        keys: keyLength,
        first_range: unit * keyLength,
        first_row: first,
        end_row: first + run.rows,
      },
      buffers: {
        ranges: sorted.ranges,
        sorted_rows: sorted.rows,
        sorted_weights: sorted.weights,
        bias: windowOf(bias, biasOffset(request, bias.shape, run), keyLength),
      },
      workgroups: keyLength,
    });
  }
}

/** Whether the gradient comes from the sorted entries (`recordBiasOfKeys`) rather than from the rows. */
export function isBiasOfKeys(shape: Shape): boolean {
  return shape[2] === 1 && shape[3] !== 1;
}
