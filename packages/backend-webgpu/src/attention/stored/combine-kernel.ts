import type { Binding } from '../../runtime/binding.js';
import type { Stream } from '../../runtime/stream.js';
import { kernelFamily, readFrom, writeTo } from '../../wgsl/define-kernel.js';
import { halvesOf, orderedKey32 } from '../../wgsl/numbers.js';
import { range } from '../../wgsl/text.js';
import { dropoutFactor } from '../shared/dropout.js';
import { geometryUniforms, type PartGeometry, rowAt } from '../shared/geometry.js';
import type { Lists } from '../shared/lists.js';
import { numberOfKey } from '../shared/ordered-key.js';

/** What the text of the kernel depends on. */
interface CombineParameters {
  readonly valueDim: number;
  readonly dtype: 'f32' | 'f16';
  readonly dropout: boolean;
}

const INVOCATIONS = 64;

/**
 * Softmax over the kept scores of each row and the weighted sum of the kept value rows, slot after slot. One workgroup
 * per row, two columns per invocation. A row without keys gives zeros, one with NaN or +inf among its scores gives
 * NaN.
 *
 * Reads the lists three times and every kept value row once. Workgroup memory: 1 KiB. Core WebGPU only. Rows of f16
 * must have an even length.
 */
const combineKernel = kernelFamily('attention stored combine', (p: CombineParameters) => ({
  uniforms: { ...geometryUniforms, k: 'u32', list_rows_per_head: 'u32' },
  buffers: {
    indices: readFrom('u32'),
    scores: readFrom('u32'),
    v: readFrom(p.dtype === 'f16' ? 'u32' : 'f32'),
    out: writeTo(p.dtype === 'f16' ? 'u32' : 'f32'),
  },
  workgroup: INVOCATIONS,
  source: () => source(p),
}));

export function recordCombine(
  stream: Stream,
  parameters: CombineParameters,
  geometry: PartGeometry,
  k: number,
  { lists, v, out }: { readonly lists: Lists; readonly v: Binding; readonly out: Binding },
): void {
  combineKernel(parameters).launch(stream, {
    uniforms: { ...geometry, k, list_rows_per_head: lists.rowsPerHead },
    buffers: { indices: lists.indices, scores: lists.scores, v, out },
    workgroups: geometry.heads * geometry.queries,
  });
}

function source({ valueDim, dtype, dropout }: CombineParameters): string {
  const half = dtype === 'f16';
  const pairs = Math.ceil(valueDim / 2);
  const blocks = range(Math.ceil(pairs / INVOCATIONS));
  const isOdd = valueDim % 2 === 1;
  const load = half
    ? `return unpack2x16float(v[(params.v_base + value_row * ${valueDim}u) / 2u + pair]);`
    : `let at = params.v_base + value_row * ${valueDim}u + 2u * pair;
  return vec2f(v[at], ${isOdd ? `select(v[min(at + 1u, arrayLength(&v) - 1u)], 0.0, 2u * pair + 1u >= ${valueDim}u)` : 'v[at + 1u]'});`;
  const store = half
    ? `out[(params.out_base + out_row * ${valueDim}u) / 2u + pair] = halves_of(value.x, value.y);`
    : `let at = params.out_base + out_row * ${valueDim}u + 2u * pair;
  out[at] = value.x;
  ${isOdd ? `if (2u * pair + 1u < ${valueDim}u) { out[at + 1u] = value.y; }` : 'out[at + 1u] = value.y;'}`;
  return `
${rowAt}
${orderedKey32}
${half ? halvesOf : ''}
${dropout ? dropoutFactor : ''}

const NONE = 0xffffffffu;
const PLUS_INF_KEY = 0xff800000u;

var<workgroup> parts: array<vec2u, INVOCATIONS>;
var<workgroup> weights: array<f32, INVOCATIONS>;
var<workgroup> value_rows: array<u32, INVOCATIONS>;

fn load_value(value_row: u32, pair: u32) -> vec2f {
  ${load}
}

fn store_output(out_row: u32, pair: u32, value: vec2f) {
  ${store}
}
${numberOfKey}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let index = id.x + id.y * groups.x;
  if (index >= params.heads * params.queries) { return; }
  let row = row_at(index);
  let k = params.k;
  let list = (row.local_head * params.list_rows_per_head + row.local_query) * k;
  let indices_at = params.indices_base + list;
  let scores_at = params.scores_base + list;
  let value_start = (row.local_head / params.group) * params.key_length;
  let out_row = row.local_head * params.query_length + row.local_query;

  // The largest score, as an ordered key, and how many there are.
  var most = 0u;
  var count = 0u;
  for (var slot = t; slot < k; slot += INVOCATIONS) {
    let bits = scores[scores_at + slot];
    if (indices[indices_at + slot] != NONE) {
      count++;
      most = max(most, key_of(bits));
    } else if ((bits & 0x7fffffffu) > 0x7f800000u) {
      most = NONE;
    }
  }
  parts[t] = vec2u(most, count);
  workgroupBarrier();
  for (var reach = INVOCATIONS / 2u; reach > 0u; reach /= 2u) {
    if (t < reach) {
      let other = parts[t + reach];
      parts[t] = vec2u(max(parts[t].x, other.x), parts[t].y + other.y);
    }
    workgroupBarrier();
  }
  let whole = workgroupUniformLoad(&parts[0]);
  let largest = number_of(whole.x);
  let is_nan = whole.x >= PLUS_INF_KEY;

  var total = 0.0;
  ${blocks.map((b) => `var sum_${b} = vec2f();`).join('\n  ')}
  for (var first = 0u; first < whole.y; first += INVOCATIONS) {
    let slot = first + t;
    if (slot < whole.y) {
      let weight = exp(bitcast<f32>(scores[scores_at + slot]) - largest);
      total += weight;
      weights[t] = weight${dropout ? ' * dropout_factor(row, slot)' : ''};
      value_rows[t] = value_start + indices[indices_at + slot];
    }
    workgroupBarrier();
    let end = min(INVOCATIONS, whole.y - first);
    for (var s = 0u; s < end; s++) {
      let weight = weights[s];
      let value_row = value_rows[s];
      ${blocks
        .map((b) => {
          const pair = `t + ${b * INVOCATIONS}u`;
          const add = `sum_${b} += weight * load_value(value_row, ${pair});`;
          return (b + 1) * INVOCATIONS <= pairs ? add : `if (${pair} < ${pairs}u) { ${add} }`;
        })
        .join('\n      ')}
    }
    workgroupBarrier();
  }
  parts[t] = vec2u(bitcast<u32>(total), 0u);
  workgroupBarrier();
  for (var reach = INVOCATIONS / 2u; reach > 0u; reach /= 2u) {
    if (t < reach) { parts[t].x = bitcast<u32>(bitcast<f32>(parts[t].x) + bitcast<f32>(parts[t + reach].x)); }
    workgroupBarrier();
  }
  let sum = bitcast<f32>(workgroupUniformLoad(&parts[0]).x);
  // From bits that no compiler knows: it may take a constant NaN for a mistake.
  let nan = bitcast<f32>(0x7fc00000u | (k & 1u));
  ${blocks
    .map(
      (b) => `if (t + ${b * INVOCATIONS}u < ${pairs}u) {
    var value = select(sum_${b} / sum, vec2f(), whole.y == 0u);
    if (is_nan) { value = vec2f(nan); }
    store_output(out_row, t + ${b * INVOCATIONS}u, value);
  }`,
    )
    .join('\n  ')}
}`;
}
