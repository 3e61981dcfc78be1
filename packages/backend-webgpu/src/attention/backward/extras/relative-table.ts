import { type AttentionRequest, queryStartOf } from '@topk-attention/core/backend';
import { windowOf } from '../../../runtime/binding.js';
import type { Span } from '../../../runtime/kernel.js';
import type { Stream } from '../../../runtime/stream.js';
import type { View } from '../../../runtime/view.js';
import { defineKernel, read, readFrom, write, writeTo } from '../../../wgsl/define-kernel.js';
import { groupIndex } from '../../shared/reductions.js';
import type { Group } from '../layout/groups.js';
import { headRuns } from './head-runs.js';

const INVOCATIONS = 64;
const ROWS_PER_BLOCK = 32;
/** Buckets at a time: every invocation keeps its own sum for each. */
const BUCKETS = 32;

/**
 * Sums of dS by bucket of relative position over a block of queries, one workgroup per block and 32 buckets. Every
 * invocation adds its own slots in order, then the invocations' sums are added in order. Workgroup memory: 8 KiB.
 */
const blocksKernel = defineKernel({
  key: 'attention-backward table blocks',
  uniforms: {
    rows: 'u32',
    slots: 'u32',
    first_slot: 'u32',
    first_position: 'i32',
    farthest: 'i32',
    buckets: 'u32',
    blocks: 'u32',
    ranges: 'u32',
  },
  buffers: { indices: readFrom('i32'), weights: read('vec2f'), bucket_of: read('u32'), sums: write('f32') },
  workgroup: INVOCATIONS,
  source: () => `
var<workgroup> own: array<f32, ${INVOCATIONS * BUCKETS}>;
${groupIndex}
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let index = group_index(group, groups);
  if (index >= params.blocks * params.ranges) { return; }
  let block = index / params.ranges;
  let first_bucket = (index % params.ranges) * ${BUCKETS}u;
  for (var b = 0u; b < ${BUCKETS}u; b++) { own[b * INVOCATIONS + t] = 0.0; }
  let end = min(params.rows, (block + 1u) * ${ROWS_PER_BLOCK}u);
  for (var row = block * ${ROWS_PER_BLOCK}u; row < end; row++) {
    for (var s = t; s < params.slots; s += INVOCATIONS) {
      let slot = row * params.slots + s;
      let key = indices[params.indices_base + slot];
      // A slot without a key holds NaN in a row of NaN, and belongs to no bucket.
      if (key < 0) { continue; }
      // Position of the key relative to the query, where all farther ones are alike.
      let relative = clamp(key - (params.first_position + i32(row)), -params.farthest, params.farthest);
      let bucket = bucket_of[u32(relative + params.farthest)] - first_bucket;
      if (bucket < ${BUCKETS}u) { own[bucket * INVOCATIONS + t] += weights[params.first_slot + slot].y; }
    }
  }
  workgroupBarrier();
  if (t < ${BUCKETS}u && first_bucket + t < params.buckets) {
    var sum = 0.0;
    for (var i = 0u; i < INVOCATIONS; i++) { sum += own[t * INVOCATIONS + i]; }
    sums[block * params.buckets + first_bucket + t] = sum;
  }
}`,
});

/** Adds the sums of all blocks, in order, to one column of the table's gradient. One invocation per bucket. */
const columnKernel = defineKernel({
  key: 'attention-backward table column',
  uniforms: { blocks: 'u32', buckets: 'u32', heads: 'u32', head: 'u32' },
  buffers: { sums: read('f32'), table: writeTo('f32') },
  workgroup: INVOCATIONS,
  source: () => `
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.buckets) { return; }
  var sum = 0.0;
  for (var block = 0u; block < params.blocks; block++) { sum += sums[block * params.buckets + id.x]; }
  table[params.table_base + id.x * params.heads + params.head] += sum;
}`,
});

/** Adds the group's part of the gradient of the relative table [buckets, Hq]; heads and sequences in order. */
export function recordTableGradient(
  stream: Stream,
  request: AttentionRequest,
  group: Group,
  indices: View,
  weights: Span,
  positions: { readonly buckets: Span; readonly farthest: number },
  table: View,
): void {
  const slots = request.k as number;
  const buckets = request.relativeBias?.buckets ?? 0;
  const { queryHeads } = request;
  for (const run of headRuns(request, group, Number.POSITIVE_INFINITY)) {
    const blocks = Math.ceil(run.rows / ROWS_PER_BLOCK);
    const ranges = Math.ceil(buckets / BUCKETS);
    const sums = stream.scratch(4 * blocks * buckets);
    blocksKernel.launch(stream, {
      uniforms: {
        ...{ rows: run.rows, slots, buckets, blocks, ranges },
        first_slot: (run.firstRow - group.firstRow) * slots,
        first_position: run.firstQuery + queryStartOf(request),
        farthest: positions.farthest,
      },
      buffers: {
        indices: windowOf(indices, run.firstRow * slots, run.rows * slots),
        weights,
        bucket_of: positions.buckets,
        sums,
      },
      workgroups: blocks * ranges,
    });
    columnKernel.launch(stream, {
      uniforms: { blocks, buckets, heads: queryHeads, head: run.head % queryHeads },
      buffers: { sums, table: windowOf(table, 0, buckets * queryHeads) },
      workgroups: { invocations: buckets },
    });
    stream.release(sums);
  }
}
