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

  return `
${rowAt}
${keyHeadOf}
${loadFour('q', half)}
${loadFour('k', half)}
${orderText}
${visibleOf(causal, keyLengths, lengthInTables)}
${chainText}
${scoreText(variant)}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let r = group.x + group.y * groups.x;
  if (r >= params.heads * params.queries) { return; }
  let row = row_at(r);
  if (row.query >= params.query_length) { return; }
  let visible = visible_of(row);
  let head = heads[r];
  let listed = min(head.x, ${capacity}u);
  let list_at = r * ${capacity}u;
  let eighth = lane & 7u;
  let eight = lane & 24u;
  let keys_at = params.k_base / 4u + key_head_of(row.local_head) * params.key_length * ${fours}u;
  let query_at = params.q_base / 4u + (row.local_head * params.query_length + row.local_query) * ${fours}u;
  ${chunks.map((c) => `let q${c} = ${inside(c, `load_q(${at('query_at', c)})`)};`).join('\n  ')}
  ${registers.map(scoreRegister).join('')}

  // The k-th largest, bit by bit; the search may end at a bar between the k-th and the next.
  let valid = subgroupAdd(${sumOf((i) => `order${i} != 0u`)});
  let k = params.k;
  var bar = 1u;
  var last_tie = 0xffffffffu;
  if (valid > k) {
    bar = 0u;
    var reached = 0u;
    for (var bit = 0u; bit < 32u; bit++) {
      let higher = bar | (0x80000000u >> bit);
      let count = subgroupAdd(${sumOf((i) => `order${i} >= higher`)});
      if (count >= k) {
        bar = higher;
        reached = count;
        if (count == k) { break; }
      }
    }
    if (reached != k) { // more equals than places: the largest index that still has one
      let needed = k - subgroupAdd(${sumOf((i) => `order${i} > bar`)});
      last_tie = 0u;
      for (var bit = 0u; bit < 32u; bit++) {
        let higher = last_tie | (0x80000000u >> bit);
        if (subgroupAdd(${sumOf((i) => `order${i} == bar && key${i} < higher`)}) < needed) { last_tie = higher; }
      }
    }
  }
  let has_nan = subgroupAny(${registers.map((i) => `is_nan_order(order${i})`).join(' || ')});
  let lowest = subgroupMin(${registers.reduce((least, i) => `min(${least}, select(0xffffffffu, order${i}, ${isKept(i)}))`, '0xffffffffu')});
  if (lane == 0u) {
    let overflowed = head.x > ${capacity}u;
    let is_proved = head.y == MINUS_INF_BITS || (valid >= k && key_of(head.y) <= lowest);
    if (overflowed || !(is_proved || has_nan)) {
      atomicStore(&work[${COUNTER_WORDS}u + atomicAdd(&work[${COUNTERS.flagged}], 1u)], r);
      if (overflowed) { atomicAdd(&work[${COUNTERS.overflowed}], 1u); }
    }
    if ((r & 31u) == 0u) {
      atomicAdd(&work[${COUNTERS.sampledRows}], 1u);
      atomicAdd(&work[${COUNTERS.sampledCounts}], min(head.x, ${2 * capacity}u));
      atomicMax(&work[${COUNTERS.longest}], head.x);
    }
  }

  let before = (1u << lane) - 1u;
  var place = 0u;
  ${registers
    .map(
      (i) => `{
    let keep = ${isKept(i)} && !has_nan;
    let votes = subgroupBallot(keep).x;
    if (keep) {
      let slot = place + countOneBits(votes & before);
      lists[list_at + slot] = key${i}; lists[list_at + k + slot] = bits_of_key(order${i});
    }
    place += countOneBits(votes);
  }`,
    )
    .join('\n  ')}
  for (var slot = place + lane; slot < k; slot += 32u) {
    lists[list_at + slot] = 0xffffffffu;
    lists[list_at + k + slot] = select(MINUS_INF_BITS, NAN_BITS, has_nan);
  }
}`;
}
