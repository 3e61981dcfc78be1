import type { Kernel } from '../../../runtime/kernel.js';
import { groupIndex, groupReductions } from '../../shared/reductions.js';
import { powerOfTwo } from '../groups.js';
import { innerProduct, notNumbers, rowBuffer, vectorType } from '../row-layout.js';
import { type RowShape, rowParams } from './row-params.js';

const INVOCATIONS = 64;

/**
 * One workgroup a query: from its kept keys and scores, with m the factors of dropout,
 *
 *     P = softmax(scores),  dP_s = m_s (dO . V_s),  dS = P (dP - sum P dP),  dQ = scale sum dS_s K_s
 *
 * and, for the gradients of keys and values, the pair (P m, dS) of every slot. Any k, D and Dv. Passes over memory: scores
 * twice, V and K rows of the kept keys once, pairs written twice and read as often. Workgroup memory: 256 B, and 1 KiB for
 * the parts of dQ. A score of NaN or +inf makes all of the row NaN; slots without a key have weight and gradient 0.
 */
export function rowsPlainKernel(shape: RowShape): Kernel {
  const { headDim, valueDim, layout, dropout } = shape;
  const { width, half } = layout;
  return {
    key: `attention-backward rows plain D${headDim} Dv${valueDim} w${width}${half ? ' f16' : ''}${dropout ? ' dropout' : ''}`,
    buffers: ['read', 'read', 'read', 'read', 'read', 'write', 'write'],
    source: () => source(shape),
  };
}

function source({ headDim, valueDim, layout, dropout }: RowShape): string {
  const { width } = layout;
  const type = vectorType(width);
  const columns = headDim / width;
  const valueColumns = valueDim / width;
  const across = Math.min(INVOCATIONS, powerOfTwo(columns));
  const parts = INVOCATIONS / across;
  return `${rowParams(dropout)}
${rowBuffer(1, 'key', layout)}
${rowBuffer(2, 'value', layout)}
${rowBuffer(3, 'gradient', layout)}
@group(0) @binding(4) var<storage, read> indices: array<i32>;
@group(0) @binding(5) var<storage, read> scores: array<u32>;
@group(0) @binding(6) var<storage, read_write> result: array<${type}>;
@group(0) @binding(7) var<storage, read_write> weights: array<vec2f>;
var<workgroup> parts: array<${type}, ${INVOCATIONS}>;
${groupIndex}
${notNumbers}
${innerProduct(width)}
${groupReductions(INVOCATIONS)}

// dO of the row . V of the key
fn product(row: u32, value_row: u32) -> f32 {
  var sum = 0.0;
  for (var c = 0u; c < ${valueColumns}u; c++) {
    sum += inner(load_gradient(params.gradient_base + row * ${valueColumns}u + c),
      load_value(params.value_base + value_row * ${valueColumns}u + c));
  }
  return sum;
}

@compute @workgroup_size(${INVOCATIONS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let row = group_index(group, groups);
  if (row >= params.rows) { return; }
  let first_key = (row / params.rows_per_unit) * params.keys;
  let first_slot = row * params.slots;

  var largest = -3.4e38;
  var bad = 0.0;
  for (var s = t; s < params.slots; s += ${INVOCATIONS}u) {
    let bits = scores[params.score_base + first_slot + s];
    if (is_nan_or_plus_inf(bits)) { bad = 1.0; }
    else if (indices[params.index_base + first_slot + s] >= 0) { largest = max(largest, bitcast<f32>(bits)); }
  }
  largest = max_of_group(largest, t);
  let is_bad = max_of_group(bad, t) > 0.0;

  var total = 0.0;
  for (var s = t; s < params.slots; s += ${INVOCATIONS}u) {
    if (indices[params.index_base + first_slot + s] >= 0) {
      total += exp(bitcast<f32>(scores[params.score_base + first_slot + s]) - largest);
    }
  }
  total = sum_of_group(total, t);

  var mean = 0.0;
  for (var s = t; s < params.slots; s += ${INVOCATIONS}u) {
    let key = indices[params.index_base + first_slot + s];
    var pair = vec2f(0.0);
    if (key >= 0) {
      let p = exp(bitcast<f32>(scores[params.score_base + first_slot + s]) - largest) / total;
      pair = vec2f(p, dropout_factor(row, s) * product(row, first_key + u32(key)));
      mean += pair.x * pair.y;
    }
    weights[first_slot + s] = pair;
  }
  mean = sum_of_group(mean, t);
  for (var s = t; s < params.slots; s += ${INVOCATIONS}u) {
    let pair = weights[first_slot + s];
    let made = vec2f(pair.x * dropout_factor(row, s), pair.x * (pair.y - mean));
    weights[first_slot + s] = select(made, vec2f(nan()), is_bad);
  }
  storageBarrier();

  let part = t / ${across}u;
  for (var first = 0u; first < ${columns}u; first += ${across}u) {
    let column = first + t % ${across}u;
    var sum = ${type}();
    if (column < ${columns}u) {
      for (var s = part; s < params.slots; s += ${parts}u) {
        let key = indices[params.index_base + first_slot + s];
        if (key >= 0) {
          sum += weights[first_slot + s].y
            * load_key(params.key_base + (first_key + u32(key)) * ${columns}u + column);
        }
      }
    }
    parts[t] = sum;
    workgroupBarrier();
    if (part == 0u && column < ${columns}u) {
      for (var other = 1u; other < ${parts}u; other++) { sum += parts[other * ${across}u + t]; }
      result[params.result_base + row * ${columns}u + column]
        = select(sum * params.scale, ${type}(nan()), is_bad);
    }
    workgroupBarrier();
  }
}`;
}
