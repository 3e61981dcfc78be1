import { fill } from '../wgsl/fill.js';
import { range, times } from '../wgsl/text.js';
import {
  digitShifts,
  POOL_WORDS,
  type SelectParameters,
  searchText,
  selectByScans,
  type TopKKernel,
  topKKernel,
} from './top-k-kernel.js';
import { text } from './top-k-listed.wgsl.js';

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
 * One workgroup per row; only a few entries are examined closely. The k-th largest maximum of disjoint groups is a
 * lower bound on the k-th largest entry, because each maximum is an entry. Entries that reach it are listed (the row
 * itself, if short), the k-th largest of the list is found exactly, and one bit per entry of the row puts the kept
 * ones in order. If a list would overflow, the row goes through the general selection. Reads the row twice (once if
 * short); 10.3 KiB of workgroup memory.
 */
export function listedKernel(parameters: ListedParameters): TopKKernel {
  const { half, invocations, groups, vec } = parameters;
  return topKKernel(`listed ${invocations} ${groups}`, parameters, () => {
    const isShort = groups === 0;
    return `${searchText}
${isShort ? '' : selectByScans(half)}
${fourKeys(half, vec)}
${fill(text, {
  each: EACH,
  pool_words: isShort ? (EACH * invocations) / 32 : POOL_WORDS,
  declare: times(EACH, (i) => `var key_${i} = 0u; var at_${i} = 0u;`, ' '),
  list: isShort ? wholeRow : listing(half, groups),
  search: digitShifts(half)
    .map((shift) => searchDigit(shift, EACH))
    .join('\n  '),
  above: times(EACH, (i) => `var kept_${i} = key_${i} > max(least, MINUS_INF_KEY);`, ' '),
  clear_pool: clearPool,
  mark_ties: setBits((i) => `key_${i} == least`),
  keep_first_ties: times(
    EACH,
    (i) => `if (key_${i} == least && bits_before(at_${i}, each) < allowed) { kept_${i} = true; }`,
  ),
  mark_kept: setBits((i) => `kept_${i}`),
  write_kept: times(
    EACH,
    (i) => `if (kept_${i}) { keep(row, bits_before(at_${i}, each), load_x(start + at_${i}), at_${i}); }`,
  ),
})}`;
  });
}

/** Keys of entries j to j + 3 of the row, 0 beyond its end. */
export function fourKeys(half: boolean, vec: boolean): string {
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
const wholeRow = times(
  EACH,
  (i) => `at_${i} = local + ${i}u * INVOCATIONS;
  if (at_${i} < params.width) { key_${i} = key_of(load_x(start + at_${i})); }`,
);

/** Lists the entries that reach the k-th largest of the groups' maxima. */
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
