import type { Kernel } from '../runtime/kernel.js';
import { digitShifts, POOL_WORDS, type SelectParameters, selectByScans, topKCommon } from './top-k-wgsl.js';

/** Entries of a list that an invocation holds in registers. */
export const EACH = 8;

export interface ListedParameters extends SelectParameters {
  /**
   * Groups of entries per invocation whose maxima give a lower bound on the k-th largest; 0: the row has at most
   * EACH * invocations entries and is the list.
   */
  readonly groups: 0 | 1 | 2 | 4 | 8;
}

/**
 * A workgroup a row, few entries of which are looked at closely. The k-th largest maximum of disjoint groups is a lower
 * bound on the k-th largest entry, as each maximum is an entry; what reaches it is listed (the row itself, if short),
 * the k-th largest of the list is found exactly, and a bit per entry of the row puts the kept ones in order. A list that
 * would overflow sends the row through the general selection. Reads the row twice (once if short); 10.3 KiB of workgroup
 * memory.
 */
export function listedKernel(parameters: ListedParameters): Kernel {
  const { half, invocations, groups, vec } = parameters;
  return {
    key: `top-k listed ${invocations} ${groups}${half ? ' f16' : ''}${vec ? ' vec' : ''}`,
    buffers: ['read', 'write', 'write'],
    source: () => sourceOf(parameters),
  };
}

const range = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

function sourceOf({ half, invocations, groups, vec }: ListedParameters): string {
  const isShort = groups === 0;
  return `${topKCommon({ half, invocations, vec })}
${isShort ? '' : selectByScans(half)}
const CAPACITY = ${EACH * invocations}u;
var<workgroup> pool: array<atomic<u32>, ${isShort ? (EACH * invocations) / 32 : POOL_WORDS}>;
var<workgroup> listed: atomic<u32>;
var<workgroup> listed_count: u32;
${fourKeys(half, vec)}

/** Sums of the bits set in the pool before those of each invocation, which has \`each\` words of it. */
fn scan_bits(local: u32, words: u32, each: u32) {
  var count = 0u;
  for (var i = 0u; i < each; i++) {
    let word = local * each + i;
    if (word < words) { count += countOneBits(atomicLoad(&pool[word])); }
  }
  scanned[local] = count;
  scan(local);
}

/** Bits set before bit j of the pool, after \`scan_bits\`. */
fn bits_before(j: u32, each: u32) -> u32 {
  let word = j / 32u;
  let owner = word / each;
  var count = select(0u, scanned[max(owner, 1u) - 1u], owner > 0u);
  for (var i = owner * each; i < word; i++) { count += countOneBits(atomicLoad(&pool[i])); }
  return count + countOneBits(atomicLoad(&pool[word]) & ((1u << (j % 32u)) - 1u));
}

@compute @workgroup_size(${invocations})
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row = workgroup.x + workgroup.y * groups.x;
  if (row >= params.rows) { return; }
  let start = params.x_base + row * params.width;
  ${range(EACH)
    .map((i) => `var key_${i} = 0u; var at_${i} = 0u;`)
    .join(' ')}
  ${isShort ? wholeRow : listing(half, groups)}
  begin_search(local, params.k);
  workgroupBarrier();
  ${digitShifts(half)
    .map((shift) => searchDigit(shift, EACH))
    .join('\n  ')}
  workgroupBarrier();
  end_search(local);
  let least = threshold;
  let allowed = quota;
  let words = (params.width + 31u) / 32u;
  let each = (words + INVOCATIONS - 1u) / INVOCATIONS;
  ${range(EACH)
    .map((i) => `var kept_${i} = key_${i} > max(least, MINUS_INF_KEY);`)
    .join(' ')}
  if (workgroupUniformLoad(&quota) > 0u && workgroupUniformLoad(&threshold) > 0u) {
    // More entries equal the threshold than are wanted: the first of them.
    ${clearPool}
    ${setBits((i) => `key_${i} == least`)}
    workgroupBarrier();
    scan_bits(local, words, each);
    ${range(EACH)
      .map((i) => `if (key_${i} == least && bits_before(at_${i}, each) < allowed) { kept_${i} = true; }`)
      .join('\n    ')}
    workgroupBarrier();
  }
  ${clearPool}
  ${setBits((i) => `kept_${i}`)}
  workgroupBarrier();
  scan_bits(local, words, each);
  ${range(EACH)
    .map((i) => `if (kept_${i}) { keep(row, bits_before(at_${i}, each), load_x(start + at_${i}), at_${i}); }`)
    .join('\n  ')}
  fill_unused(row, scanned[INVOCATIONS - 1u], local);
}`;
}

/** Keys of entries j to j + 3 of the row, 0 beyond its end. */
function fourKeys(half: boolean, vec: boolean): string {
  const four = half
    ? 'vec4u(key_of(found.x & 0xffffu), key_of(found.x >> 16u), key_of(found.y & 0xffffu), key_of(found.y >> 16u))'
    : 'vec4u(key_of(found.x), key_of(found.y), key_of(found.z), key_of(found.w))';
  const one = (i: number): string =>
    `if (j + ${i}u < params.width) { keys[${i}] = key_of(load_x(start + j + ${i}u)); }`;
  return `fn four_keys(start: u32, j: u32) -> vec4u {
  ${
    vec
      ? `if (j >= params.width) { return vec4u(); }
  let found = x[(start + j) / 4u];
  return ${four};`
      : `var keys = vec4u();
  ${range(4).map(one).join('\n  ')}
  return keys;`
  }
}`;
}

/** The row is the list. */
const wholeRow = range(EACH)
  .map(
    (i) => `at_${i} = local + ${i}u * INVOCATIONS;
  if (at_${i} < params.width) { key_${i} = key_of(load_x(start + at_${i})); }`,
  )
  .join('\n  ');

/** Lists what reaches the k-th largest of the groups' maxima. */
function listing(half: boolean, groups: number): string {
  const strip = 'INVOCATIONS * 4u';
  return `for (var tile = 4u * local; tile < params.width; tile += ${groups}u * ${strip}) {
    ${range(groups)
      .map(
        (u) => `{ let four = four_keys(start, tile + ${u}u * ${strip});
    key_${u} = max(max(key_${u}, max(four.x, four.y)), max(four.z, four.w)); }`,
      )
      .join('\n    ')}
  }
  begin_search(local, params.k);
  if (local == 0u) { atomicStore(&listed, 0u); }
  workgroupBarrier();
  ${digitShifts(half)
    .slice(0, 2)
    .map((shift) => searchDigit(shift, groups))
    .join('\n  ')}
  // The digits not looked for count as 0, which is a lower bound too.
  let bound = max(workgroupUniformLoad(&threshold), MINUS_INF_KEY + 1u);
  for (var tile = 4u * local; tile < params.width; tile += ${strip}) {
    let four = four_keys(start, tile);
    if (max(max(four.x, four.y), max(four.z, four.w)) >= bound) {
      for (var i = 0u; i < 4u; i++) {
        if (four[i] >= bound) {
          let slot = atomicAdd(&listed, 1u);
          if (slot < CAPACITY) { atomicStore(&pool[slot], tile + i); }
        }
      }
    }
  }
  workgroupBarrier();
  if (local == 0u) { listed_count = atomicLoad(&listed); }
  let count = workgroupUniformLoad(&listed_count);
  if (count > CAPACITY) {
    select_by_scans(row, start, local);
    return;
  }
  ${range(EACH)
    .map(
      (i) => `key_${i} = 0u;
  if (local + ${i}u * INVOCATIONS < count) {
    at_${i} = atomicLoad(&pool[local + ${i}u * INVOCATIONS]);
    key_${i} = key_of(load_x(start + at_${i}));
  }`,
    )
    .join('\n  ')}`;
}

/** One digit of the k-th largest of the first `count` keys that each invocation holds. */
function searchDigit(shift: number, count: number): string {
  const shared = (i: number): string =>
    shift === 24 ? '' : ` && (key_${i} >> ${shift + 8}u) == (found >> ${shift + 8}u)`;
  return `if (workgroupUniformLoad(&settled) == 0u) {
    clear_histogram(local);
    let found = threshold;
    ${range(count)
      .map(
        (i) =>
          `if (key_${i} > MINUS_INF_KEY${shared(i)}) { atomicAdd(&histogram[(key_${i} >> ${shift}u) & 255u], 1u); }`,
      )
      .join('\n    ')}
    settle(local, ${shift}u);
  }`;
}

const clearPool = `workgroupBarrier();
  for (var word = local; word < words; word += INVOCATIONS) { atomicStore(&pool[word], 0u); }
  workgroupBarrier();`;

function setBits(condition: (i: number) => string): string {
  return range(EACH)
    .map((i) => `if (${condition(i)}) { atomicOr(&pool[at_${i} / 32u], 1u << (at_${i} % 32u)); }`)
    .join('\n  ');
}
