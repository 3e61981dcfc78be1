import type { Binding } from '../../runtime/binding.js';
import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { kernelFamily, read, writeTo } from '../../wgsl/define-kernel.js';
import { halvesOf } from '../../wgsl/numbers.js';
import { geometryUniforms, type PartGeometry } from '../shared/geometry.js';
import { storageType, storeVector } from './storage.js';

const INVOCATIONS = 256;

/**
 * f32 values that one segment of the keys stores for each row: its sums in fours, and one more four for the row
 * itself.
 */
export function segmentRowFloats(valueDim: number): number {
  return 4 * (Math.ceil(valueDim / 4) + 1);
}

interface JoinParameters {
  readonly valueDim: number;
  readonly dtype: 'f32' | 'f16';
  /** Whether weights are sigmoids: sums are the output as they are, and all rows have the same maximum. */
  readonly sigmoid: boolean;
}

const joinKernel = kernelFamily('exact join segments', ({ valueDim, dtype, sigmoid }: JoinParameters) => ({
  uniforms: { ...geometryUniforms, segments: 'u32' },
  buffers: { parts: read('vec4f'), out: writeTo(storageType(valueDim, dtype)) },
  workgroup: INVOCATIONS,
  source: () => source(valueDim, dtype, sigmoid),
}));

/**
 * Outputs from segments of the keys: sums and totals are scaled to the largest maximum and added: first the segments
 * `lanes` apart, then the lanes, each in order. One workgroup per row. Workgroup memory: 24 bytes per invocation.
 */
export function recordJoin(
  stream: Stream,
  parameters: JoinParameters,
  geometry: PartGeometry,
  segments: number,
  buffers: { readonly parts: Span; readonly out: Binding },
): void {
  joinKernel(parameters).launch(stream, {
    uniforms: { ...geometry, segments },
    buffers,
    workgroups: geometry.heads * geometry.queries,
  });
}

function source(valueDim: number, dtype: 'f32' | 'f16', sigmoid: boolean): string {
  const fours = Math.ceil(valueDim / 4);
  const lanes = Math.floor(INVOCATIONS / fours);
  return `
var<workgroup> sums: array<vec4f, INVOCATIONS>;
var<workgroup> totals: array<vec2f, INVOCATIONS>;
${dtype === 'f16' ? halvesOf : ''}
${storeVector('storeOutput', 'out', valueDim, dtype)}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let row = group.x + group.y * groups.x;
  let rows = params.heads * params.queries;
  if (row >= rows) { return; }
  let four = t % ${fours}u;
  let lane = t / ${fours}u;
  var top = -3.40282346e38;
  for (var segment = 0u; segment < params.segments; segment++) {
    top = max(top, parts[(segment * rows + row) * ${fours + 1}u + ${fours}u].x);
  }
  var sum = vec4f();
  var total = vec2f();
  if (lane < ${lanes}u) {
    for (var segment = lane; segment < params.segments; segment += ${lanes}u) {
      let at = (segment * rows + row) * ${fours + 1}u;
      let of_row = parts[at + ${fours}u];
      let fade = exp(max(of_row.x - top, -1000.0));
      sum += fade * parts[at + four];
      total += vec2f(fade * of_row.y, of_row.z);
    }
  }
  sums[t] = sum;
  totals[t] = total;
  workgroupBarrier();
  if (lane > 0u) { return; }
  for (var other = 1u; other < ${lanes}u; other++) {
    sum += sums[other * ${fours}u + four];
    total += totals[other * ${fours}u + four];
  }
  let nan = bitcast<f32>(0x7fc00000u + (params.heads & 0u));
  let share = ${sigmoid ? '1.0' : 'select(0.0, 1.0 / total.x, total.x > 0.0)'};
  let start = params.out_base + row / params.queries * params.query_length * ${valueDim}u;
  storeOutput(start, row % params.queries, 4u * four, select(sum * share, vec4f(nan), vec4<bool>(total.y > 0.0)));
}`;
}
