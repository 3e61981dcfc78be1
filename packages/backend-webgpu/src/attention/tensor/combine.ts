import type { Binding } from '../../runtime/binding.js';
import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { kernelFamily, optional, read, readFrom, writeTo } from '../../wgsl/define-kernel.js';
import { halvesOf } from '../../wgsl/numbers.js';
import { range, subgroupDirectives } from '../../wgsl/text.js';
import { dropoutFactor } from '../shared/dropout.js';
import { geometryUniforms, keyHeadOf, type PartGeometry, rowAt } from '../shared/geometry.js';
import type { Lists } from '../shared/lists.js';
import { fourType, loadFour, orderText } from './score-text.js';

interface CombineVariant {
  readonly valueDim: number;
  readonly half: boolean;
  readonly capacity: number;
  readonly dropout: boolean;
  readonly saves: boolean;
  /** Shuffles within a subgroup of 32 lanes instead of workgroup memory; the same bits. */
  readonly subgroup: boolean;
}

/** Value rows in flight per lane. */
const AT_ONCE = 8;

/**
 * Softmax over the kept scores of a row, dropout, and the weighted sum of its values; writes the output and, for
 * 'saves', the list. 32 invocations per row, all sums in a fixed order. One pass over the kept rows of V. Workgroup
 * memory: 4 bytes per unit of capacity, and 640 bytes.
 *
 * A row of NaN scores, or one that holds +inf, gives NaN; a row without valid keys gives zeros.
 */
const combineKernel = kernelFamily('tensor combine', (variant: CombineVariant) => ({
  uniforms: { ...geometryUniforms, k: 'u32' },
  buffers: {
    lists: read('u32'),
    v: readFrom(fourType(variant.half)),
    out: writeTo(fourType(variant.half)),
    indices: optional(variant.saves, writeTo('u32')),
    scores: optional(variant.saves, writeTo('u32')),
  },
  workgroup: 32,
  directives: variant.subgroup ? subgroupDirectives : [],
  source: () => source(variant),
}));

/** `lists`: as the selection leaves them; `saved`: where the kept keys also go. */
export function recordCombine(
  stream: Stream,
  variant: Omit<CombineVariant, 'saves'>,
  geometry: PartGeometry,
  k: number,
  {
    saved,
    ...buffers
  }: {
    readonly lists: Span;
    readonly v: Binding;
    readonly out: Binding;
    readonly saved: Lists | undefined;
  },
): void {
  combineKernel({ ...variant, saves: saved !== undefined }).launch(stream, {
    uniforms: { ...geometry, k },
    buffers: { ...buffers, indices: saved?.indices, scores: saved?.scores },
    workgroups: geometry.heads * geometry.queries,
  });
}

function source({ valueDim, half, capacity, dropout, saves, subgroup }: CombineVariant): string {
  const fours = valueDim / 4;
  /** Rows of V that the lanes read side by side, and fours of a row per lane. */
  const parts = Math.max(1, Math.floor(32 / fours));
  const width = Math.min(32, fours);
  const perLane = Math.ceil(fours / 32);
  const kept = capacity / 2;
  const four = (i: number): string => `min(c + ${32 * i}u, ${fours - 1}u)`;
  return `
${rowAt}
${keyHeadOf}
var<workgroup> keys: array<u32, ${kept}>;
var<workgroup> weights: array<f32, ${kept}>;
var<workgroup> partial: array<vec4f, 32>;
${loadFour('v', half)}
${half ? halvesOf : ''}
${orderText}
${dropout ? dropoutFactor : ''}
${butterflies(subgroup)}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let r = group.x + group.y * groups.x;
  if (r >= params.heads * params.queries) { return; }
  let row = row_at(r);
  if (row.query >= params.query_length) { return; }
  let k = params.k;
  let list_at = r * ${capacity}u;
  let row_place = row.local_head * params.query_length + row.local_query;

  var largest = 0u;
  var count = 0u;
  for (var slot = lane; slot < k; slot += 32u) {
    let key = lists[list_at + slot];
    let bits = lists[list_at + k + slot];
    keys[slot] = key;
    weights[slot] = bitcast<f32>(bits);
    if (key != 0xffffffffu) {
      count++;
      largest = max(largest, key_of(bits));
    } else if (is_nan(bits)) {
      largest = 0xffffffffu;
    }
    ${saves ? 'indices[params.indices_base + row_place * k + slot] = key;\n    scores[params.scores_base + row_place * k + slot] = bits;' : ''}
  }
  largest = max_of_lanes(largest, lane);
  count = sum_of_lanes_u32(count, lane);
  let is_bad = largest >= key_of(PLUS_INF_BITS);
  let base = bitcast<f32>(bits_of_key(select(largest, 0x80000000u, is_bad || count == 0u)));
  var sum = 0.0;
  for (var slot = lane; slot < count; slot += 32u) {
    let weight = exp(weights[slot] - base);
    weights[slot] = weight;
    sum += weight;
  }
  sum = sum_of_lanes(sum, lane);
  let share = 1.0 / max(sum, 1e-38);
  for (var slot = lane; slot < count; slot += 32u) {
    weights[slot] *= share${dropout ? ' * dropout_factor(row, slot)' : ''};
  }
  workgroupBarrier();

  let part = lane / ${width}u;
  let c = lane % ${width}u;
  let values_at = params.v_base / 4u + key_head_of(row.local_head) * params.key_length * ${fours}u;
  ${range(perLane)
    .map((i) => `var sum${i} = vec4f();`)
    .join(' ')}
  if (part < ${parts}u) {
    for (var slot = part; slot < count; slot += ${parts * AT_ONCE}u) {
      ${range(AT_ONCE)
        .map(
          (u) =>
            `let at${u} = min(slot + ${u * parts}u, count - 1u); let from${u} = values_at + keys[at${u}] * ${fours}u;`,
        )
        .join('\n      ')}
      ${range(AT_ONCE)
        .flatMap((u) => range(perLane).map((i) => `let x${u}_${i} = load_v(from${u} + ${four(i)});`))
        .join('\n      ')}
      ${range(AT_ONCE)
        .map((u) => `let w${u} = select(0.0, weights[at${u}], slot + ${u * parts}u < count);`)
        .join('\n      ')}
      ${range(AT_ONCE)
        .flatMap((u) => range(perLane).map((i) => `sum${i} = fma(vec4f(w${u}), x${u}_${i}, sum${i});`))
        .join('\n      ')}
    }
  }
  ${
    parts > 1
      ? `partial[lane] = sum0;
  workgroupBarrier();
  if (lane < ${width}u) {
    sum0 = partial[lane]${range(parts - 1)
      .map((p) => ` + partial[lane + ${(p + 1) * width}u]`)
      .join('')};
  }`
      : ''
  }
  ${range(perLane)
    .map(
      (i) => `if (lane < ${width}u && c + ${32 * i}u < ${fours}u) {
    let whole = bitcast<vec4u>(sum${i});
    let bits = select(whole, vec4u(NAN_BITS), is_bad);
    let at = params.out_base / 4u + row_place * ${fours}u + c + ${32 * i}u;
    out[at] = ${
      half
        ? `vec2u(
      halves_of(bitcast<f32>(bits.x), bitcast<f32>(bits.y)), halves_of(bitcast<f32>(bits.z), bitcast<f32>(bits.w)),
    )`
        : 'bitcast<vec4f>(bits)'
    };
  }`,
    )
    .join('\n  ')}
}`;
}

/** Sums and maxima over the 32 lanes of a workgroup, by butterflies: a fixed order, known to all lanes. */
function butterflies(subgroup: boolean): string {
  const butterfly = (name: string, type: string, join: (a: string, b: string) => string): string =>
    subgroup
      ? `
fn ${name}(value: ${type}, lane: u32) -> ${type} {
  var all = value;
${[1, 2, 4, 8, 16].map((step) => `  all = ${join('all', `subgroupShuffleXor(all, ${step}u)`)};`).join('\n')}
  return all;
}`
      : `
var<workgroup> ${name}_exchange: array<${type}, 32>;
fn ${name}(value: ${type}, lane: u32) -> ${type} {
  var all = value;
  for (var step = 1u; step < 32u; step *= 2u) {
    ${name}_exchange[lane] = all;
    workgroupBarrier();
    all = ${join('all', `${name}_exchange[lane ^ step]`)};
    workgroupBarrier();
  }
  return all;
}`;
  return [
    butterfly('max_of_lanes', 'u32', (a, b) => `max(${a}, ${b})`),
    butterfly('sum_of_lanes_u32', 'u32', (a, b) => `${a} + ${b}`),
    butterfly('sum_of_lanes', 'f32', (a, b) => `${a} + ${b}`),
  ].join('\n');
}
