import type { Shape } from '@topk-attention/core';
import type { Stream } from '../../runtime/stream.js';
import type { View } from '../../runtime/view.js';
import { defineKernel, kernelFamily, read, write } from '../../wgsl/define-kernel.js';
import { geometryOf, geometryUniforms, rowAt, visibleKeys } from '../shared/geometry.js';
import { groupIndex, groupReductions } from '../shared/reductions.js';
import type { Slopes } from './slopes.js';

const INVOCATIONS = 64;

/** Which of the bias's four extents equal those of the scores, rather than 1. */
interface Extents {
  readonly batches: boolean;
  readonly heads: boolean;
  readonly queries: boolean;
  readonly keys: boolean;
}

/** Of the elements for one query and key, or of a bias that all keys share. */
type OtherExtents = Omit<Extents, 'keys'>;

/** The heads of a part that share an element of the bias: `from`, `from + step`, ... below `to`, in WGSL. */
function headsOf({ batches, heads }: Pick<Extents, 'batches' | 'heads'>): {
  from: string;
  to: string;
  step: string;
} {
  if (batches && heads) return { from: 'bias_head', to: 'bias_head + 1u', step: '1u' };
  if (batches) {
    return {
      from: 'max(bias_head * params.query_heads, first.head) - first.head',
      to: 'min(params.heads, (bias_head + 1u) * params.query_heads - first.head)',
      step: '1u',
    };
  }
  if (heads) {
    return {
      from: '(bias_head + params.query_heads - first.head) % params.query_heads',
      to: 'params.heads',
      step: 'params.query_heads',
    };
  }
  return { from: '0u', to: 'params.heads', step: '1u' };
}

/**
 * Adds the dS of a part to the gradient of a bias that varies by key: each element that the part reaches gets the sum over
 * its heads and queries. One invocation per element.
 */
const biasKernel = kernelFamily('attention exact-backward bias', (extents: OtherExtents) => ({
  uniforms: { ...geometryUniforms, row_fours: 'u32', bias_heads: 'u32' },
  buffers: { slopes: read('f32'), bias: write('f32') },
  workgroup: INVOCATIONS,
  source: () => source(extents),
}));

function source(extents: OtherExtents): string {
  const { queries } = extents;
  const { from, to, step } = headsOf(extents);
  return `${rowAt}
${groupIndex}
@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let index = group_index(group, groups) * INVOCATIONS + t;
  let width = params.visible_keys;
  let height = ${queries ? 'params.queries' : '1u'};
  let bias_head = index / (width * height);
  if (bias_head >= params.bias_heads) { return; }
  let query = index / width % height;
  let key = index % width;
  let first = row_at(0u);
  var sum = 0.0;
  var place = 0u;
  var reached = false;
  for (var local_head = ${from}; local_head < ${to}; local_head += ${step}) {
    let row = row_at(local_head * params.queries);
    reached = true;
    place = dot(params.bias_stride, vec4u(row.batch, row.head, row.query + query, key));
    for (var q = ${queries ? 'query; q <= query' : '0u; q < params.queries'}; q++) {
      sum += slopes[4u * (local_head * params.queries + q) * params.row_fours + key];
    }
  }
  if (reached) { bias[place] += sum; }
}`;
}

/** The sum of dS over the keys, for each row of a part. One workgroup per row. */
const rowSumKernel = defineKernel({
  key: 'attention exact-backward bias row-sum',
  uniforms: { ...geometryUniforms, row_fours: 'u32' },
  buffers: { slopes: read('f32'), sums: write('f32') },
  workgroup: INVOCATIONS,
  source: () => `
${groupIndex}
${groupReductions(INVOCATIONS)}
@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let row = group_index(group, groups);
  if (row >= params.heads * params.queries) { return; }
  var sum = 0.0;
  for (var key = t; key < params.visible_keys; key += INVOCATIONS) { sum += slopes[4u * row * params.row_fours + key]; }
  sum = sum_of_group(sum, t);
  if (t == 0u) { sums[row] = sum; }
}`,
});

/**
 * Adds the sums of the rows to the gradient of a bias that all keys share. One workgroup per element, whose invocations
 * take turns at the rows.
 */
const totalKernel = kernelFamily('attention exact-backward bias total', (extents: OtherExtents) => ({
  uniforms: { ...geometryUniforms, bias_heads: 'u32' },
  buffers: { sums: read('f32'), bias: write('f32') },
  workgroup: INVOCATIONS,
  source: () => totalSource(extents),
}));

function totalSource(extents: OtherExtents): string {
  const { queries } = extents;
  const { from, to, step } = headsOf(extents);
  return `${rowAt}
${groupIndex}
${groupReductions(INVOCATIONS)}
@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let index = group_index(group, groups);
  let bias_head = index${queries ? ' / params.queries' : ''};
  if (bias_head >= params.bias_heads) { return; }
  let query = ${queries ? 'index % params.queries' : '0u'};
  let shared_rows = ${queries ? '1u' : 'params.queries'};
  let first = row_at(0u);
  let from_head = ${from};
  var sum = 0.0;
  for (var at = t; ; at += INVOCATIONS) {
    let local_head = from_head + at / shared_rows * ${step};
    if (local_head >= ${to}) { break; }
    sum += sums[local_head * params.queries + query + at % shared_rows];
  }
  sum = sum_of_group(sum, t);
  if (t == 0u && from_head < ${to}) {
    let row = row_at(from_head * params.queries);
    bias[dot(params.bias_stride, vec4u(row.batch, row.head, row.query + query, 0u))] += sum;
  }
}`;
}

/** Bytes of the sums of a part's rows; 0 without a bias that all keys share. */
export function biasGradientBytes(bias: Shape | undefined, heads: number, queries: number): number {
  return bias?.[3] === 1 ? 4 * heads * queries : 0;
}

/**
 * Adds the dS of a part to the gradient of a bias. A bias that all keys share may have so few elements that a workgroup
 * for each would leave a GPU idle: there the rows are summed first, a workgroup for each. All orders of summation are
 * fixed.
 */
export function recordBiasGradient(stream: Stream, { request, part, span, fours }: Slopes, bias: View): void {
  const [batches, heads, queries, keys] = bias.shape.map((extent) => extent !== 1) as [
    boolean,
    boolean,
    boolean,
    boolean,
  ];
  const geometry = geometryOf(request, part);
  const batchOf = (head: number): number => Math.floor(head / request.queryHeads);
  const spanned = batchOf(part.firstHead + part.heads - 1) - batchOf(part.firstHead) + 1;
  const biasHeads = batches && heads ? part.heads : batches ? spanned : heads ? request.queryHeads : 1;
  const rows = biasHeads * (queries ? part.queries : 1);
  if (keys) {
    biasKernel({ batches, heads, queries }).launch(stream, {
      uniforms: { ...geometry, row_fours: fours, bias_heads: biasHeads },
      buffers: { slopes: span, bias: bias.span },
      workgroups: { invocations: rows * visibleKeys(request, part) },
    });
    return;
  }
  const sums = stream.scratch(biasGradientBytes(bias.shape, part.heads, part.queries));
  rowSumKernel.launch(stream, {
    uniforms: { ...geometry, row_fours: fours },
    buffers: { slopes: span, sums },
    workgroups: part.heads * part.queries,
  });
  totalKernel({ batches, heads, queries }).launch(stream, {
    uniforms: { ...geometry, bias_heads: biasHeads },
    buffers: { sums, bias: bias.span },
    workgroups: rows,
  });
  stream.release(sums);
}
