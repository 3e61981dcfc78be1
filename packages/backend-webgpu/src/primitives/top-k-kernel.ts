import { type Buffer, type DefinedKernel, defineKernel, readFrom, writeTo } from '../wgsl/define-kernel.js';
import { fill } from '../wgsl/fill.js';
import { orderedKey16, orderedKey32, storeBits, storedElement } from '../wgsl/numbers.js';
import { text as scansText } from './top-k-scans.wgsl.js';

/**
 * Shared by the ways of selecting with a workgroup: a scan over the workgroup, and the search for the k-th largest key
 * by digits of 8 bits, whose counts the caller puts into `histogram`.
 */
export { text as searchText } from './top-k-search.wgsl.js';

/** Words of the pool: candidates by index, then one bit per entry of the row. */
export const POOL_WORDS = 2048;

/** Longest row whose entries each have a bit in the pool. */
export const LONGEST_LISTED: number = 32 * POOL_WORDS;

export interface SelectParameters {
  readonly half: boolean;
  /** Per workgroup. */
  readonly invocations: 64 | 256;
  /** Four neighbours are read at once. */
  readonly vec: boolean;
}

const uniforms = { rows: 'u32', width: 'u32', k: 'u32' } as const;

export type TopKKernel = DefinedKernel<
  typeof uniforms,
  Readonly<Record<'x' | 'values' | 'indices', Buffer<true, false>>>
>;

/** A way of selecting; `source` may use ordered keys, the row's entries and `keep`. */
export function topKKernel(
  key: string,
  { half, invocations, vec }: SelectParameters,
  source: () => string,
): TopKKernel {
  const four = half ? 'vec2u' : 'vec4u';
  return defineKernel({
    key: `top-k ${key}${half ? ' f16' : ''}${vec ? ' vec' : ''}`,
    uniforms,
    buffers: {
      x: readFrom(vec ? four : 'u32'),
      values: writeTo(storedElement(half)),
      indices: writeTo('i32'),
    },
    workgroup: invocations,
    source: () => `${entryText(half, vec)}\n${source()}`,
  });
}

function loadOf(half: boolean, vec: boolean): string {
  if (!half) return vec ? 'x[at / 4u][at % 4u]' : 'x[at]';
  const word = vec ? 'x[at / 4u][(at / 2u) % 2u]' : 'x[at / 2u]';
  return `(${word} >> (16u * (at % 2u))) & 0xffffu`;
}

/** Ordered keys, and how an entry is read and a kept one written. */
function entryText(half: boolean, vec: boolean): string {
  return `${half ? orderedKey16 : orderedKey32}
fn load_x(at: u32) -> u32 { return ${loadOf(half, vec)}; }
${storeBits('values', half)}

const MINUS_INF = ${half ? '0xfc00u' : '0xff800000u'};
const MINUS_INF_KEY = ${half ? '0x03ff0000u' : '0x007fffffu'};

fn keep(row: u32, slot: u32, bits: u32, j: u32) {
  store_values(params.values_base + row * params.k + slot, bits);
  indices[params.indices_base + row * params.k + slot] = i32(j);
}`;
}

/** Digits of a key. */
export function digitShifts(half: boolean): readonly number[] {
  return half ? [24, 16] : [24, 16, 8, 0];
}

/**
 * `select_by_scans(row, start, local)`: any row and any k. The keys are counted from memory digit by digit, then one
 * ascending pass keeps the selected ones in order.
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
  return fill(scansText, { digits: digits.join('\n  ') });
}
