import type { Binding } from '../../runtime/binding.js';
import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { kernelFamily, read, readFrom, writeTo } from '../../wgsl/define-kernel.js';
import { loadFloat } from '../../wgsl/numbers.js';
import { geometryUniforms, type PartGeometry, rowAt } from '../shared/geometry.js';
import { HIDDEN_WEIGHT } from './row-gradients.js';

const unusualKernel = kernelFamily(
  'attention exact-backward unusual',
  ({ half }: { readonly half: boolean }) => ({
    uniforms: { ...geometryUniforms, row_fours: 'u32', width: 'u32' },
    buffers: {
      weights: read('u32'),
      gradient: readFrom('u32'),
      unusual: read('u32'),
      sums: writeTo('f32'),
    },
    workgroup: 64,
    source: () => `${rowAt}
${loadFloat('gradient', half)}
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let count = unusual[0];
  if (count == 0u) { return; }
  let at = id.x + id.y * groups.x * INVOCATIONS;
  let keys = params.visible_keys;
  let unit = at / keys;
  let key = at % keys;
  if (unit >= params.heads / params.group) { return; }
  let sums_at = params.sums_base + (unit * params.key_length + key) * params.width;
  for (var i = 0u; i < count; i++) {
    let r = unusual[1u + i];
    let row = row_at(r);
    let bits = weights[4u * r * params.row_fours + key];
    if (row.local_head / params.group != unit || bits == ${HIDDEN_WEIGHT}) { continue; }
    let gradient_at = params.gradient_base + (row.local_head * params.query_length + row.local_query) * params.width;
    for (var c = 0u; c < params.width; c++) {
      let value = load_gradient(gradient_at + c);
      if ((bitcast<u32>(value) & 0x7f800000u) == 0x7f800000u) { sums[sums_at + c] += bitcast<f32>(bits) * value; }
    }
  }
}`,
  }),
);

/**
 * Adds to dV what the product over finite numbers left out: weight times dO where dO is NaN or infinite, for every key
 * that its query sees. One invocation per key, over the listed queries; usually there are none. `row_fours`: stride of
 * the weights' rows; `width`: that of dO.
 */
export function recordUnusualGradients(
  stream: Stream,
  half: boolean,
  geometry: PartGeometry,
  own: Readonly<Record<'row_fours' | 'width', number>>,
  buffers: Readonly<Record<'weights' | 'unusual', Span>> & Readonly<Record<'gradient' | 'sums', Binding>>,
): void {
  unusualKernel({ half }).launch(stream, {
    uniforms: { ...geometry, ...own },
    buffers,
    workgroups: { invocations: (geometry.heads / geometry.group) * geometry.visible_keys },
  });
}
