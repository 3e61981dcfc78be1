import { orderedKey16, orderedKey32, storeBits, storedArray } from './wgsl-numbers.js';

/** Words of the pool: candidates by index, then one bit per entry of the row. */
export const POOL_WORDS = 2048;

/** Longest row whose entries have a bit each in the pool. */
export const LONGEST_LISTED: number = 32 * POOL_WORDS;

export interface SelectParameters {
  readonly half: boolean;
  /** Of a workgroup, which takes a row. */
  readonly invocations: 64 | 256;
  /** Four neighbours are read at once. */
  readonly vec: boolean;
}

function loadOf(half: boolean, vec: boolean): string {
  if (!half) return vec ? 'x[at / 4u][at % 4u]' : 'x[at]';
  const word = vec ? 'x[at / 4u][(at / 2u) % 2u]' : 'x[at / 2u]';
  return `(${word} >> (16u * (at % 2u))) & 0xffffu`;
}

/** Bindings, ordered keys, and how a kept entry is written. */
export function topKBindings(half: boolean, vec: boolean): string {
  return `
struct Params { rows: u32, width: u32, k: u32, x_base: u32, values_base: u32, indices_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<${vec ? (half ? 'vec2u' : 'vec4u') : 'u32'}>;
@group(0) @binding(2) var<storage, read_write> values: ${storedArray(half)};
@group(0) @binding(3) var<storage, read_write> indices: array<i32>;
${half ? orderedKey16 : orderedKey32}
fn load_x(at: u32) -> u32 { return ${loadOf(half, vec)}; }
${storeBits('values', half)}

const MINUS_INF = ${half ? '0xfc00u' : '0xff800000u'};
const MINUS_INF_KEY = ${half ? '0x03ff0000u' : '0x007fffffu'};

fn keep(row: u32, slot: u32, bits: u32, j: u32) {
  store_values(params.values_base + row * params.k + slot, bits);
  indices[params.indices_base + row * params.k + slot] = i32(j);
}`;
}

/**
 * What the ways of selecting by a workgroup share: a scan over the workgroup, and the search of the k-th largest key by
 * digits of 8 bits, whose counts the caller puts into `histogram`.
 */
export function topKCommon({ half, invocations, vec }: SelectParameters): string {
  const each = 256 / invocations;
  return `${topKBindings(half, vec)}

const INVOCATIONS = ${invocations}u;
var<workgroup> histogram: array<atomic<u32>, 256>;
var<workgroup> scanned: array<u32, ${invocations}>;
/** The search so far: the keys above \`threshold\` are kept, and the first \`quota\` of those equal to it. */
var<workgroup> threshold: u32;
var<workgroup> quota: u32;
/** Keys that share the digits found so far, and whether all of them are kept, so that no more digits are needed. */
var<workgroup> sharing: u32;
var<workgroup> settled: u32;

/** Inclusive sums of \`scanned\`, in place. */
fn scan(local: u32) {
  workgroupBarrier();
  for (var step = 1u; step < INVOCATIONS; step <<= 1u) {
    let sum = scanned[local] + select(0u, scanned[max(local, step) - step], local >= step);
    workgroupBarrier();
    scanned[local] = sum;
    workgroupBarrier();
  }
}

fn begin_search(local: u32, k: u32) {
  if (local == 0u) {
    threshold = 0u;
    quota = k;
    settled = 0u;
  }
}

fn clear_histogram(local: u32) {
  for (var bin = local; bin < 256u; bin += INVOCATIONS) { atomicStore(&histogram[bin], 0u); }
  workgroupBarrier();
}

/** Takes the digit at \`shift\` from the histogram. Where fewer than k keys exist at all, the threshold stays 0. */
fn settle(local: u32, shift: u32) {
  workgroupBarrier();
  // Sums count from the largest digit down.
  var counts = array<u32, ${each}>();
  var mine = 0u;
  for (var i = 0u; i < ${each}u; i++) {
    counts[i] = atomicLoad(&histogram[255u - local * ${each}u - i]);
    mine += counts[i];
  }
  scanned[local] = mine;
  scan(local);
  let wanted = quota;
  var reached = scanned[local] - mine;
  let found = threshold;
  if (shift == 24u && local == INVOCATIONS - 1u && reached + mine < wanted) { settled = 1u; }
  workgroupBarrier();
  for (var i = 0u; i < ${each}u; i++) {
    if (reached < wanted && reached + counts[i] >= wanted) {
      threshold = found | ((255u - local * ${each}u - i) << shift);
      quota = wanted - reached;
      sharing = counts[i];
      if (counts[i] == wanted - reached) { settled = 1u; }
    }
    reached += counts[i];
  }
  workgroupBarrier();
}

/** Every key that shares the digits found is kept: they lie above the key below the least of them. */
fn end_search(local: u32) {
  if (local == 0u && threshold > 0u && sharing == quota) {
    threshold -= 1u;
    quota = 0u;
  }
  workgroupBarrier();
}

fn fill_unused(row: u32, first: u32, local: u32) {
  for (var slot = first + local; slot < params.k; slot += INVOCATIONS) {
    store_values(params.values_base + row * params.k + slot, MINUS_INF);
    indices[params.indices_base + row * params.k + slot] = -1;
  }
}`;
}

/** Digits of a key. */
export function digitShifts(half: boolean): readonly number[] {
  return half ? [24, 16] : [24, 16, 8, 0];
}

/**
 * `select_by_scans(row, start, local)`: any row and any k. The keys are counted from memory digit by digit, then one
 * ascending pass keeps what is wanted in order.
 */
export function selectByScans(half: boolean): string {
  const digits = digitShifts(half).map((shift) => {
    const shared = shift === 24 ? 'true' : `(key >> ${shift + 8}u) == (found >> ${shift + 8}u)`;
    const pass = `clear_histogram(local);
    let found = threshold;
    for (var j = local; j < params.width; j += INVOCATIONS) {
      let key = key_of(load_x(start + j));
      if (key > MINUS_INF_KEY && ${shared}) { atomicAdd(&histogram[(key >> ${shift}u) & 255u], 1u); }
    }
    settle(local, ${shift}u);`;
    return `if (workgroupUniformLoad(&settled) == 0u) {
    ${pass}
  }`;
  });
  return `
fn select_by_scans(row: u32, start: u32, local: u32) {
  begin_search(local, params.k);
  if (params.k < params.width) {
  ${digits.join('\n  ')}
  workgroupBarrier();
  end_search(local);
  }
  workgroupBarrier();
  let least = threshold;
  let allowed = quota;
  var above = 0u;
  var ties = 0u;
  for (var tile = 0u; tile < params.width; tile += 4u * INVOCATIONS) {
    let first = tile + 4u * local;
    var bits = vec4u();
    var is_above = vec4u();
    var is_tie = vec4u();
    for (var i = 0u; i < 4u; i++) {
      if (first + i < params.width) {
        bits[i] = load_x(start + first + i);
        let key = key_of(bits[i]);
        is_above[i] = select(0u, 1u, key > MINUS_INF_KEY && key > least);
        is_tie[i] = select(0u, 1u, key > MINUS_INF_KEY && key == least);
      }
    }
    let mine = is_above.x + is_above.y + is_above.z + is_above.w
      + ((is_tie.x + is_tie.y + is_tie.z + is_tie.w) << 16u);
    scanned[local] = mine;
    scan(local);
    let before = scanned[local] - mine;
    let total = scanned[INVOCATIONS - 1u];
    var kept_above = above + (before & 0xffffu);
    var kept_ties = ties + (before >> 16u);
    for (var i = 0u; i < 4u; i++) {
      if (is_above[i] == 1u || (is_tie[i] == 1u && kept_ties < allowed)) {
        keep(row, kept_above + min(kept_ties, allowed), bits[i], first + i);
      }
      kept_above += is_above[i];
      kept_ties += is_tie[i];
    }
    above += total & 0xffffu;
    ties += total >> 16u;
    workgroupBarrier();
  }
  fill_unused(row, above + min(ties, allowed), local);
}`;
}
