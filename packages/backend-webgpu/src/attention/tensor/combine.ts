import type { Binding } from '../../runtime/binding.js';
import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { kernelFamily, optional, read, readFrom, writeTo } from '../../wgsl/define-kernel.js';
import { fill } from '../../wgsl/fill.js';
import { halvesOf } from '../../wgsl/numbers.js';
import { subgroupDirectives, times } from '../../wgsl/text.js';
import { dropoutFactor } from '../shared/dropout.js';
import { geometryUniforms, keyHeadOf, type PartGeometry, rowAt } from '../shared/geometry.js';
import type { Lists } from '../shared/lists.js';
import { text } from './combine.wgsl.js';
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
  const perRow = (line: (u: number) => string): string => times(AT_ONCE, line, '\n      ');
  const perValue = (line: (u: number, i: number) => string): string =>
    perRow((u) => times(perLane, (i) => line(u, i), '\n      '));
  const storeSum = (i: number): string => `if (lane < ${width}u && c + ${32 * i}u < ${fours}u) {
    let whole = bitcast<vec4u>(sum${i});
    let bits = select(whole, vec4u(NAN_BITS), is_bad);
    let at = params.out_base / 4u + row_place * ${fours}u + c + ${32 * i}u;
    out[at] = ${half ? packed : 'bitcast<vec4f>(bits)'};
  }`;
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

${fill(text, {
  capacity,
  save_slot: saves ? saveSlot : '',
  dropout_factor: dropout ? ' * dropout_factor(row, slot)' : '',
  width,
  fours,
  parts,
  rows_at_once: parts * AT_ONCE,
  declare_sums: times(perLane, (i) => `var sum${i} = vec4f();`, ' '),
  rows: perRow(
    (u) =>
      `let at${u} = min(slot + ${u * parts}u, count - 1u); let from${u} = values_at + keys[at${u}] * ${fours}u;`,
  ),
  values: perValue((u, i) => `let x${u}_${i} = load_v(from${u} + ${four(i)});`),
  row_weights: perRow((u) => `let w${u} = select(0.0, weights[at${u}], slot + ${u * parts}u < count);`),
  add_values: perValue((u, i) => `sum${i} = fma(vec4f(w${u}), x${u}_${i}, sum${i});`),
  join_parts: parts > 1 ? joinParts(parts, width) : '',
  store_sums: times(perLane, storeSum, '\n  '),
})}`;
}

const saveSlot = `indices[params.indices_base + row_place * k + slot] = key;
    scores[params.scores_base + row_place * k + slot] = bits;`;

const packed = `vec2u(
      halves_of(bitcast<f32>(bits.x), bitcast<f32>(bits.y)), halves_of(bitcast<f32>(bits.z), bitcast<f32>(bits.w)),
    )`;

/** Adds up the sums of the rows side by side. */
function joinParts(parts: number, width: number): string {
  return `partial[lane] = sum0;
  workgroupBarrier();
  if (lane < ${width}u) {
    sum0 = partial[lane]${times(parts - 1, (p) => ` + partial[lane + ${(p + 1) * width}u]`, '')};
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
