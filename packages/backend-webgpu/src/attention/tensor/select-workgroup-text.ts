import { fill } from '../../wgsl/fill.js';
import { times } from '../../wgsl/text.js';
import { COUNTER_WORDS, COUNTERS } from '../shared/counters.js';
import { keyHeadOf, rowAt } from '../shared/geometry.js';
import { visibleOf } from '../shared/validity.js';
import { placesOf } from './candidates.js';
import { chainText, dotWhole, lengthInTables, loadFour, orderText, scoreText } from './score-text.js';
import type { SelectVariant } from './select-subgroup.js';
import { text } from './select-workgroup.wgsl.js';
import { sortText } from './sort-text.js';

export interface WorkgroupVariant extends SelectVariant {
  readonly from: 'list' | 'all';
  readonly invocations: number;
}

/** The text of the kernel of `select-workgroup.ts`. */
export function selectText(variant: WorkgroupVariant): string {
  const { headDim, half, keyLengths, causal, capacity, from, invocations } = variant;
  const isList = from === 'list';
  const fours = headDim / 4;
  return `
${rowAt}
${keyHeadOf}
var<workgroup> query: array<vec4f, ${fours}>;
${isList ? `var<workgroup> orders: array<vec4u, ${capacity / 4}>;` : ''}
var<workgroup> histogram: array<atomic<u32>, 256>;
var<workgroup> coarse: array<u32, 16>;
var<workgroup> valid_count: atomic<u32>;
var<workgroup> nan_count: atomic<u32>;
var<workgroup> kept_count: atomic<u32>;
var<workgroup> lowest_kept: atomic<u32>;
var<workgroup> picked: vec3u;
var<workgroup> totals: vec2u;
${loadFour('q', half)}
${loadFour('k', half)}
${orderText}
${visibleOf(causal, keyLengths, lengthInTables)}
${chainText}
${dotWhole(headDim)}
${scoreText(variant)}
${sortText(placesOf(capacity), invocations)}

${fill(text, {
  fours,
  last_place: placesOf(capacity) - 1,
  candidate: isList ? 'min(lists[list_at + i], params.key_length - 1u)' : 'i',
  orders_barrier: isList ? '' : 'storageBarrier();',
  count_digits: inFours(countDigit),
  four_keys: times(4, (i) => `let key${i} = candidate(list_at, min(4u * four + ${i}u, n - 1u));`, '\n    '),
  four_products: times(4, (i) => `let product${i} = dot_whole(keys_at + key${i} * ${fours}u);`, '\n    '),
  order_four: inFours(orderOne),
  keep_four: inFours((i) => keepOne(i, placesOf(capacity))),
  body: isList ? listBody(capacity) : allBody(capacity),
})}`;
}

/** Four at a time, so that loads do not wait for each other. */
function inFours(body: (i: number) => string): string {
  return times(4, (i) => `{\n        ${body(i)}\n      }`, '\n      ');
}

/** Counts the digit of one of four ordered keys, or of the complement of its index. */
function countDigit(i: number): string {
  return `let order = of_four[${i}];
        var value = order;
        var counts = order != 0u;
        if (ties) {
          value = ~candidate(list_at, min(4u * four + ${i}u, n - 1u));
          counts = order == bar;
        }
        if (counts && (digit == 0u || ((value ^ prefix) >> (shift + 8u)) == 0u)) {
          atomicAdd(&histogram[(value >> shift) & 255u], 1u);
        }`;
}

/** The ordered key of one of four candidates. */
function orderOne(i: number): string {
  return `let order = select(0u, order_of_score(row, visible, key${i}, product${i}), 4u * four + ${i}u < n);
      of_four[${i}] = order;
      valid += select(0u, 1u, order != 0u);
      nans += select(0u, 1u, is_nan_order(order));`;
}

/** Appends one of four candidates if it is among the k best. */
function keepOne(i: number, places: number): string {
  return `let order = of_four[${i}];
      if (order >= bar) {
        let key = candidate(list_at, min(4u * four + ${i}u, n - 1u));
        if (order != bar || key <= last_tie) {
          let slot = atomicAdd(&kept_count, 1u);
          atomicMin(&lowest_kept, order);
          if (slot < ${places}u) {
            sort_keys[slot] = key;
            sort_orders[slot] = order;
          }
        }
      }`;
}

function listBody(capacity: number): string {
  return `
  let r = group.x + group.y * groups.x;
  if (r >= params.heads * params.queries) { return; }
  let row = row_at(r);
  if (row.query >= params.query_length) { return; }
  let head = heads[r];
  let found = select_row(row, visible_of(row), min(head.x, ${capacity}u), r * ${capacity}u, 0u, t);
  let has_nan = found.z != 0u;
  if (t == 0u) {
    let overflowed = head.x > ${capacity}u;
    let is_proved = head.y == MINUS_INF_BITS || (found.x == params.k && key_of(head.y) <= found.y);
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
  write_row(r * ${capacity}u, found.x, has_nan, t);`;
}

function allBody(capacity: number): string {
  return `
  let last = min(min(flagged[${COUNTERS.flagged}], params.end_flagged), params.heads * params.queries);
  for (var at = params.first_flagged + group.x; at < last; at += groups.x) {
    let r = flagged[${COUNTER_WORDS}u + at];
    let row = row_at(r);
    let visible = visible_of(row);
    let found = select_row(row, visible, visible, r * ${capacity}u, group.x * ((params.key_length + 3u) / 4u), t);
    write_row(r * ${capacity}u, found.x, found.z != 0u, t);
    storageBarrier();
    workgroupBarrier();
  }`;
}
