import type { Stream } from '../../runtime/stream.js';
import type { View } from '../../runtime/view.js';
import { kernelFamily, read, write } from '../../wgsl/define-kernel.js';
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

/**
 * Adds the dS of a part to the gradient of a bias: each element that the part reaches gets the sum over its heads and
 * queries, and over its keys where the bias is shared by all keys. One invocation per element, or one workgroup where
 * keys are summed.
 */
const biasKernel = kernelFamily('attention exact-backward bias', (extents: Extents) => ({
  uniforms: { ...geometryUniforms, row_fours: 'u32', bias_heads: 'u32' },
  buffers: { slopes: read('f32'), bias: write('f32') },
  workgroup: INVOCATIONS,
  source: () => source(extents),
}));

function source({ batches, heads, queries, keys }: Extents): string {
  // The heads of the part that share an element of the bias.
  const [from, to, step] = batches
    ? heads
      ? ['bias_head', 'bias_head + 1u', '1u']
      : [
          'max(bias_head * params.query_heads, first.head) - first.head',
          'min(params.heads, (bias_head + 1u) * params.query_heads - first.head)',
          '1u',
        ]
    : heads
      ? [
          '(bias_head + params.query_heads - first.head) % params.query_heads',
          'params.heads',
          'params.query_heads',
        ]
      : ['0u', 'params.heads', '1u'];
  return `${rowAt}
${groupIndex}
${keys ? '' : groupReductions(INVOCATIONS)}
@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let index = group_index(group, groups)${keys ? ' * INVOCATIONS + t' : ''};
  let width = ${keys ? 'params.visible_keys' : '1u'};
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
      let at = 4u * (local_head * params.queries + q) * params.row_fours;
      ${keys ? 'sum += slopes[at + key];' : 'for (var k = t; k < params.visible_keys; k += INVOCATIONS) { sum += slopes[at + k]; }'}
    }
  }
  ${keys ? 'if (reached) { bias[place] += sum; }' : 'sum = sum_of_group(sum, t);\n  if (t == 0u && reached) { bias[place] += sum; }'}
}`;
}

export function recordBiasGradient(stream: Stream, { request, part, span, fours }: Slopes, bias: View): void {
  const [batches, heads, queries, keys] = bias.shape.map((extent) => extent !== 1) as [
    boolean,
    boolean,
    boolean,
    boolean,
  ];
  const batchOf = (head: number): number => Math.floor(head / request.queryHeads);
  const spanned = batchOf(part.firstHead + part.heads - 1) - batchOf(part.firstHead) + 1;
  const biasHeads = batches && heads ? part.heads : batches ? spanned : heads ? request.queryHeads : 1;
  const elements = biasHeads * (queries ? part.queries : 1) * (keys ? visibleKeys(request, part) : 1);
  biasKernel({ batches, heads, queries, keys }).launch(stream, {
    uniforms: { ...geometryOf(request, part), row_fours: fours, bias_heads: biasHeads },
    buffers: { slopes: span, bias: bias.span },
    workgroups: keys ? { invocations: elements } : elements,
  });
}
