import type { AttentionRequest } from '@topk-attention/core/backend';
import { windowOf } from '../../../runtime/binding.js';
import { gridOf, type Kernel, type Span, uniformWords } from '../../../runtime/kernel.js';
import type { Stream } from '../../../runtime/stream.js';
import type { View } from '../../../runtime/view.js';
import { groupIndex } from '../../shared/reductions.js';
import type { Group } from '../groups.js';
import { headRuns } from './head-runs.js';

const INVOCATIONS = 64;
const ROWS_PER_BLOCK = 32;
/** Buckets at a time: every invocation keeps a sum of its own for each. */
const BUCKETS = 32;

/**
 * Sums of dS by bucket of relative position over a block of queries, one workgroup a block and 32 buckets. Every
 * invocation adds its own slots in order, then invocations are added in order. Workgroup memory: 8 KiB.
 */
const blocksKernel: Kernel = {
  key: 'attention-backward table blocks',
  buffers: ['read', 'read', 'read', 'write'],
  source: () => `
struct Params {
  rows: u32, slots: u32, index_base: u32, first_slot: u32,
  first_position: i32, farthest: i32, buckets: u32, blocks: u32, ranges: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> indices: array<i32>;
@group(0) @binding(2) var<storage, read> weights: array<vec2f>;
@group(0) @binding(3) var<storage, read> bucket_of: array<u32>;
@group(0) @binding(4) var<storage, read_write> sums: array<f32>;
var<workgroup> own: array<f32, ${INVOCATIONS * BUCKETS}>;
${groupIndex}
@compute @workgroup_size(${INVOCATIONS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let index = group_index(group, groups);
  if (index >= params.blocks * params.ranges) { return; }
  let block = index / params.ranges;
  let first_bucket = (index % params.ranges) * ${BUCKETS}u;
  for (var b = 0u; b < ${BUCKETS}u; b++) { own[b * ${INVOCATIONS}u + t] = 0.0; }
  let end = min(params.rows, (block + 1u) * ${ROWS_PER_BLOCK}u);
  for (var row = block * ${ROWS_PER_BLOCK}u; row < end; row++) {
    for (var s = t; s < params.slots; s += ${INVOCATIONS}u) {
      let slot = row * params.slots + s;
      let key = indices[params.index_base + slot];
      // A slot without a key holds NaN in a row of NaN, and belongs to no bucket.
      if (key < 0) { continue; }
      // Position of the key relative to the query, where all farther ones are alike.
      let relative = clamp(key - (params.first_position + i32(row)), -params.farthest, params.farthest);
      let bucket = bucket_of[u32(relative + params.farthest)] - first_bucket;
      if (bucket < ${BUCKETS}u) { own[bucket * ${INVOCATIONS}u + t] += weights[params.first_slot + slot].y; }
    }
  }
  workgroupBarrier();
  if (t < ${BUCKETS}u && first_bucket + t < params.buckets) {
    var sum = 0.0;
    for (var i = 0u; i < ${INVOCATIONS}u; i++) { sum += own[t * ${INVOCATIONS}u + i]; }
    sums[block * params.buckets + first_bucket + t] = sum;
  }
}`,
};

/** Adds the sums of all blocks, in order, to one column of the table's gradient. One invocation a bucket. */
const columnKernel: Kernel = {
  key: 'attention-backward table column',
  buffers: ['read', 'write'],
  source: () => `
struct Params { blocks: u32, buckets: u32, heads: u32, head: u32, base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> sums: array<f32>;
@group(0) @binding(2) var<storage, read_write> table: array<f32>;
@compute @workgroup_size(${INVOCATIONS})
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.buckets) { return; }
  var sum = 0.0;
  for (var block = 0u; block < params.blocks; block++) { sum += sums[block * params.buckets + id.x]; }
  table[params.base + id.x * params.heads + params.head] += sum;
}`,
};

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
  const { queryHeads, keyLength, queryLength } = request;
  for (const run of headRuns(request, group, Number.POSITIVE_INFINITY)) {
    const blocks = Math.ceil(run.rows / ROWS_PER_BLOCK);
    const ranges = Math.ceil(buckets / BUCKETS);
    const sums = stream.scratch(4 * blocks * buckets);
    const at = windowOf(indices, run.firstRow * slots, run.rows * slots);
    const firstSlot = (run.firstRow - group.firstRow) * slots;
    const firstPosition = run.firstQuery + keyLength - queryLength;
    stream.launch({
      kernel: blocksKernel,
      buffers: [at.span, weights, positions.buckets, sums],
      uniforms: uniformWords([
        ...[run.rows, slots, at.base, firstSlot, firstPosition, positions.farthest],
        ...[buckets, blocks, ranges],
      ]),
      workgroups: gridOf(blocks * ranges),
    });
    const to = windowOf(table, 0, buckets * queryHeads);
    stream.launch({
      kernel: columnKernel,
      buffers: [sums, to.span],
      uniforms: uniformWords([blocks, buckets, queryHeads, run.head % queryHeads, to.base]),
      workgroups: gridOf(Math.ceil(buckets / INVOCATIONS)),
    });
    stream.release(sums);
  }
}
