import { COUNTER_WORDS, COUNTERS } from '../shared/counters.js';
import { keyHeadOf, rowAt } from '../shared/geometry.js';
import { visibleOf } from '../shared/validity.js';
import { placesOf } from './candidates.js';
import { chainText, dotWhole, lengthInTables, loadFour, orderText, scoreText } from './score-text.js';
import type { SelectVariant } from './select-subgroup.js';
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

fn candidate(list_at: u32, i: u32) -> u32 {
  return ${isList ? 'min(lists[list_at + i], params.key_length - 1u)' : 'i'};
}

/** The bin of the needed-th largest value, how many lie in higher bins, how many in it. */
fn pick_bin(needed: u32, t: u32) -> vec3u {
  if (t < 16u) {
    var sum = 0u;
    for (var i = 0u; i < 16u; i++) { sum += atomicLoad(&histogram[16u * t + i]); }
    coarse[t] = sum;
  }
  workgroupBarrier();
  if (t == 0u) {
    var above = 0u;
    var block = 15u;
    while (block > 0u && above + coarse[block] < needed) { above += coarse[block]; block--; }
    var bin = 16u * block + 15u;
    while (bin > 16u * block && above + atomicLoad(&histogram[bin]) < needed) {
      above += atomicLoad(&histogram[bin]);
      bin--;
    }
    picked = vec3u(bin, above, atomicLoad(&histogram[bin]));
  }
  return workgroupUniformLoad(&picked);
}

/**
 * The needed-th largest among the ordered keys, or, for \`ties\`, among the complements of the indices whose ordered key
 * is \`bar\`; with the places that are left for its equals, and their number.
 */
fn find_largest(n: u32, list_at: u32, orders_at: u32, wanted: u32, ties: bool, bar: u32, t: u32) -> vec3u {
  var prefix = 0u;
  var needed = wanted;
  var equals = 0u;
  for (var digit = 0u; digit < 4u; digit++) {
    let shift = 24u - 8u * digit;
    for (var bin = t; bin < 256u; bin += INVOCATIONS) { atomicStore(&histogram[bin], 0u); }
    workgroupBarrier();
    for (var four = t; 4u * four < n; four += INVOCATIONS) {
      let of_four = orders[orders_at + four];
      ${inFours(
        (i) => `let order = of_four[${i}];
        var value = order;
        var counts = order != 0u;
        if (ties) {
          value = ~candidate(list_at, min(4u * four + ${i}u, n - 1u));
          counts = order == bar;
        }
        if (counts && (digit == 0u || ((value ^ prefix) >> (shift + 8u)) == 0u)) {
          atomicAdd(&histogram[(value >> shift) & 255u], 1u);
        }`,
      )}
    }
    workgroupBarrier();
    let bin = pick_bin(needed, t);
    prefix |= bin.x << shift;
    needed -= bin.y;
    equals = bin.z;
    workgroupBarrier();
  }
  return vec3u(prefix, needed, equals);
}

/** Leaves the k best of n candidates in \`sort_keys\`, ascending, and returns how many they are, and the lowest of their ordered keys; 0xffffffff kept ones for a NaN. */
fn select_row(row: Row, visible: u32, n: u32, list_at: u32, orders_at: u32, t: u32) -> vec3u {
  let query_at = params.q_base / 4u + (row.local_head * params.query_length + row.local_query) * ${fours}u;
  for (var i = t; i < ${fours}u; i += INVOCATIONS) { query[i] = load_q(query_at + i); }
  if (t == 0u) {
    atomicStore(&valid_count, 0u);
    atomicStore(&nan_count, 0u);
    atomicStore(&kept_count, 0u);
    atomicStore(&lowest_kept, 0xffffffffu);
  }
  workgroupBarrier();
  let keys_at = params.k_base / 4u + key_head_of(row.local_head) * params.key_length * ${fours}u;
  var valid = 0u;
  var nans = 0u;
  for (var four = t; 4u * four < n; four += INVOCATIONS) {
    ${[0, 1, 2, 3]
      .map((i) => `let key${i} = candidate(list_at, min(4u * four + ${i}u, n - 1u));`)
      .join('\n    ')}
    ${[0, 1, 2, 3].map((i) => `let product${i} = dot_whole(keys_at + key${i} * ${fours}u);`).join('\n    ')}
    var of_four = vec4u();
    ${inFours(
      (
        i,
      ) => `let order = select(0u, order_of_score(row, visible, key${i}, product${i}), 4u * four + ${i}u < n);
      of_four[${i}] = order;
      valid += select(0u, 1u, order != 0u);
      nans += select(0u, 1u, is_nan_order(order));`,
    )}
    orders[orders_at + four] = of_four;
  }
  if (valid > 0u) { atomicAdd(&valid_count, valid); }
  if (nans > 0u) { atomicAdd(&nan_count, nans); }
  ${isList ? '' : 'storageBarrier();'}
  workgroupBarrier();
  if (t == 0u) { totals = vec2u(atomicLoad(&valid_count), atomicLoad(&nan_count)); }
  let counted = workgroupUniformLoad(&totals);
  if (counted.y > 0u) { return vec3u(0u, 0u, 1u); }
  let k = params.k;
  var bar = 1u;
  var last_tie = 0xffffffffu;
  if (counted.x > k) {
    let found = find_largest(n, list_at, orders_at, k, false, 0u, t);
    bar = found.x;
    if (found.y < found.z) { last_tie = ~find_largest(n, list_at, orders_at, found.y, true, bar, t).x; }
  }
  for (var four = t; 4u * four < n; four += INVOCATIONS) {
    let of_four = orders[orders_at + four];
    ${inFours(
      (i) => `let order = of_four[${i}];
      if (order >= bar) {
        let key = candidate(list_at, min(4u * four + ${i}u, n - 1u));
        if (order != bar || key <= last_tie) {
          let slot = atomicAdd(&kept_count, 1u);
          atomicMin(&lowest_kept, order);
          if (slot < ${placesOf(capacity)}u) {
            sort_keys[slot] = key;
            sort_orders[slot] = order;
          }
        }
      }`,
    )}
  }
  workgroupBarrier();
  if (t == 0u) { totals = vec2u(atomicLoad(&lowest_kept), 0u); }
  let lowest = workgroupUniformLoad(&totals).x;
  let kept = min(counted.x, k);
  sort_by_key(kept, t);
  return vec3u(kept, lowest, 0u);
}

/** Overwrites the row of the list: k indices ascending, then -1; the bits of their scores, then -inf; NaN rows -1, NaN. */
fn write_row(list_at: u32, kept: u32, has_nan: bool, t: u32) {
  for (var slot = t; slot < params.k; slot += INVOCATIONS) {
    let used = slot < kept;
    let at = min(slot, ${placesOf(capacity) - 1}u);
    lists[list_at + slot] = select(0xffffffffu, sort_keys[at], used);
    let unused = select(MINUS_INF_BITS, NAN_BITS, has_nan);
    lists[list_at + params.k + slot] = select(unused, bits_of_key(sort_orders[at]), used);
  }
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32,
) {
  ${isList ? listBody(capacity) : allBody(capacity)}
}`;
}

/** Four at a time, so that loads do not wait for each other. */
function inFours(body: (i: number) => string): string {
  return [0, 1, 2, 3].map((i) => `{\n        ${body(i)}\n      }`).join('\n      ');
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
