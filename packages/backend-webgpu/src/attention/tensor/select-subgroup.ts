import type { Binding } from '../../runtime/binding.js';
import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import {
  kernelFamily,
  optional,
  read,
  readFrom,
  type UniformValues,
  write,
} from '../../wgsl/define-kernel.js';
import { fill } from '../../wgsl/fill.js';
import { range, subgroupDirectives, times } from '../../wgsl/text.js';
import { COUNTER_WORDS, COUNTERS } from '../shared/counters.js';
import { geometryUniforms, keyHeadOf, type PartGeometry, rowAt } from '../shared/geometry.js';
import { visibleOf } from '../shared/validity.js';
import {
  chainText,
  fourType,
  lengthInTables,
  loadFour,
  orderText,
  type ScoreVariant,
  scoreText,
} from './score-text.js';
import { text } from './select-subgroup.wgsl.js';
import type { Tables } from './tables.js';

export interface SelectVariant extends ScoreVariant {
  readonly capacity: number;
}

/** What selections read, and the lists that they overwrite. */
export interface SelectInputs {
  readonly geometry: PartGeometry;
  /** Keys to keep. */
  readonly kept: number;
  readonly q: Binding;
  readonly k: Binding;
  readonly lists: Span;
  readonly tables: Tables | undefined;
}

export const selectUniforms: typeof geometryUniforms & {
  readonly k: 'u32';
  readonly buckets_at: 'u32';
  readonly table_at: 'u32';
} = { ...geometryUniforms, k: 'u32', buckets_at: 'u32', table_at: 'u32' };

export function selectUniformsOf({
  geometry,
  kept,
  tables,
}: SelectInputs): UniformValues<typeof selectUniforms> {
  return { ...geometry, k: kept, buckets_at: tables?.bucketsAt ?? 0, table_at: tables?.tableAt ?? 0 };
}

/** Keys that eight lanes load at a time. */
const AT_ONCE = 4;

/**
 * Rescoring and exact selection of one row by one subgroup of 32 lanes, for devices whose subgroups all have that
 * size.
 *
 * Eight lanes share a key (16 bytes each per load); every lane keeps the ordered keys of capacity / 32 candidates in
 * registers. The k-th largest is found bit by bit; among equals at the boundary, the lower indices win. The k kept
 * keys overwrite the row of the list: k indices ascending, then the k bits of their scores. Rows without proof go to
 * the list of flagged rows in `work`. One pass over the candidates' rows of K; no workgroup memory.
 */
const selectKernel = kernelFamily('tensor select subgroup', (variant: SelectVariant) => ({
  uniforms: selectUniforms,
  buffers: {
    q: readFrom(fourType(variant.half)),
    k: readFrom(fourType(variant.half)),
    lists: write('u32'),
    heads: read('vec2u'),
    work: write('atomic<u32>'),
    tables: optional(variant.relative || variant.keyLengths, read('u32')),
  },
  workgroup: 32,
  directives: subgroupDirectives,
  source: () => source(variant),
}));

/** `work`: the part's counters, then the rows to select again. */
export function recordSelectSubgroup(
  stream: Stream,
  variant: SelectVariant,
  inputs: SelectInputs,
  buffers: { readonly heads: Span; readonly work: Span },
): void {
  const { q, k, lists, tables, geometry } = inputs;
  selectKernel(variant).launch(stream, {
    uniforms: selectUniformsOf(inputs),
    buffers: { q, k, lists, ...buffers, tables: tables?.span },
    workgroups: geometry.heads * geometry.queries,
  });
}

function source(variant: SelectVariant): string {
  const { headDim, half, keyLengths, causal, capacity } = variant;
  const registers = range(capacity / 32);
  const fours = headDim / 4;
  const chunks = range(Math.ceil(fours / 8));
  /** Lanes beyond the last four add nothing: their sum must not include what is stored there. */
  const isWhole = (chunk: number): boolean => 8 * (chunk + 1) <= fours;
  const inside = (chunk: number, value: string): string =>
    isWhole(chunk) ? value : `select(vec4f(), ${value}, eighth + ${8 * chunk}u < ${fours}u)`;
  const at = (base: string, chunk: number): string =>
    isWhole(chunk)
      ? `${base} + eighth + ${8 * chunk}u`
      : `${base} + min(eighth + ${8 * chunk}u, ${fours - 1}u)`;
  const unroll = (count: number, body: (i: number) => string): string => times(count, body, '\n      ');
  const sumOf = (test: (i: number) => string): string =>
    registers.map((i) => `select(0u, 1u, ${test(i)})`).join(' + ');

  const scoreRound = (round: number): string => `{
      ${unroll(AT_ONCE, (u) => `let at${u} = keys_at + subgroupShuffle(key, eight + ${round * AT_ONCE + u}u) * ${fours}u;`)}
      ${unroll(AT_ONCE, (u) => chunks.map((c) => `let x${u}_${c} = ${inside(c, `load_k(${at(`at${u}`, c)})`)};`).join(' '))}
      ${unroll(AT_ONCE, (u) => `var z${u} = ${chunks.reduce((sum, c) => `chain(${sum}, q${c}, x${u}_${c})`, '0.0')};`)}
      ${[1, 2, 4].map((step) => unroll(AT_ONCE, (u) => `z${u} += subgroupShuffleXor(z${u}, ${step}u);`)).join('\n      ')}
      ${unroll(AT_ONCE, (u) => `product = select(product, z${u}, eighth == ${round * AT_ONCE + u}u);`)}
    }`;

  const scoreRegister = (i: number): string => `
  var key${i} = 0u;
  var order${i} = 0u;
  if (listed > ${32 * i}u) {
    let slot = ${32 * i}u + lane;
    let key = select(0u, min(lists[list_at + min(slot, ${capacity - 1}u)], params.key_length - 1u), slot < listed);
    var product = 0.0;
    ${times(8 / AT_ONCE, scoreRound, '\n    ')}
    key${i} = key;
    if (slot < listed) { order${i} = order_of_score(row, visible, key, product); }
  }`;

  const isKept = (i: number): string =>
    `(order${i} > bar || (order${i} == bar && key${i} <= last_tie && order${i} != 0u))`;

  const writeKept = (i: number): string => `{
    let keep = ${isKept(i)} && !has_nan;
    let votes = subgroupBallot(keep).x;
    if (keep) {
      let slot = place + countOneBits(votes & before);
      lists[list_at + slot] = key${i}; lists[list_at + k + slot] = bits_of_key(order${i});
    }
    place += countOneBits(votes);
  }`;

  return `
${rowAt}
${keyHeadOf}
${loadFour('q', half)}
${loadFour('k', half)}
${orderText}
${visibleOf(causal, keyLengths, lengthInTables)}
${chainText}
${scoreText(variant)}

${fill(text, {
  capacity,
  fours,
  load_query: chunks.map((c) => `let q${c} = ${inside(c, `load_q(${at('query_at', c)})`)};`).join('\n  '),
  score_registers: registers.map(scoreRegister).join(''),
  count_valid: sumOf((i) => `order${i} != 0u`),
  count_from_higher: sumOf((i) => `order${i} >= higher`),
  count_above_bar: sumOf((i) => `order${i} > bar`),
  count_ties_below: sumOf((i) => `order${i} == bar && key${i} < higher`),
  any_nan: registers.map((i) => `is_nan_order(order${i})`).join(' || '),
  lowest_kept: registers.reduce(
    (least, i) => `min(${least}, select(0xffffffffu, order${i}, ${isKept(i)}))`,
    '0xffffffffu',
  ),
  counter_words: COUNTER_WORDS,
  flagged: COUNTERS.flagged,
  overflowed: COUNTERS.overflowed,
  sampled_rows: COUNTERS.sampledRows,
  sampled_counts: COUNTERS.sampledCounts,
  longest: COUNTERS.longest,
  most_sampled: 2 * capacity,
  write_kept: registers.map(writeKept).join('\n  '),
})}`;
}
