import type { Kernel } from '../../runtime/kernel.js';
import { loadFloat } from '../../wgsl/numbers.js';
import { bindings } from '../shared/bindings.js';
import { geometryStruct } from '../shared/geometry.js';
import { HIDDEN_WEIGHT } from './row-gradients.js';

export const UNUSUAL_INVOCATIONS = 64;

/**
 * Adds to dV what the product over finite numbers left out: weight times dO where dO is NaN or infinite, for every key that
 * its query sees. One invocation a key, over the listed queries; there are none as a rule. `own`: words of a row of
 * weights in fours, width of dO.
 */
export function unusualGradientsKernel(dtype: 'f32' | 'f16'): Kernel {
  return {
    key: `attention exact-backward unusual ${dtype}`,
    buffers: ['read', 'read', 'read', 'write'],
    source: () => `${geometryStruct}
${bindings([
  'read> weights: array<u32>',
  'read> gradient: array<u32>',
  'read> unusual: array<u32>',
  'read_write> sums: array<f32>',
])}
${loadFloat('gradient', dtype === 'f16')}
@compute @workgroup_size(${UNUSUAL_INVOCATIONS})
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let count = unusual[0];
  if (count == 0u) { return; }
  let at = id.x + id.y * groups.x * ${UNUSUAL_INVOCATIONS}u;
  let keys = params.visible_keys;
  let unit = at / keys;
  let key = at % keys;
  if (unit >= params.heads / params.group) { return; }
  let sums_at = params.v_base + (unit * params.key_length + key) * params.own.y;
  for (var i = 0u; i < count; i++) {
    let r = unusual[1u + i];
    let row = row_at(r);
    let bits = weights[4u * r * params.own.x + key];
    if (row.local_head / params.group != unit || bits == ${HIDDEN_WEIGHT}) { continue; }
    let gradient_at = params.out_base + (row.local_head * params.query_length + row.local_query) * params.own.y;
    for (var c = 0u; c < params.own.y; c++) {
      let value = load_gradient(gradient_at + c);
      if ((bitcast<u32>(value) & 0x7f800000u) == 0x7f800000u) { sums[sums_at + c] += bitcast<f32>(bits) * value; }
    }
  }
}`,
  };
}
