import type { Binding } from '../runtime/binding.js';
import { type Buffer, optional, writeTo } from '../wgsl/define-kernel.js';
import { times } from '../wgsl/text.js';
import { invocationsOf, type MatmulTile } from './matmul-tile.js';

/** The operand that is summed: `a`, stored [inner, rows], or `b`, stored [inner, columns]. */
export type Summed = 'a' | 'b';

/**
 * Sums over the terms of one operand beside a product, such as the gradient of a bias beside that of the weight: the tiles
 * of the operand lie in workgroup memory anyway. NaN and infinities stay in their row of a, or column of b.
 */
export interface OperandSums {
  readonly of: Summed;
  /** f32 [rows] for a, [columns] for b. */
  readonly out: Binding;
}

/** The number of sums, in WGSL. */
export const sumsLength = (of: Summed): string => (of === 'a' ? 'params.rows' : 'params.columns');

/** The buffer that a kernel writes them to. */
export const sumsBuffer = (of: Summed | undefined): Buffer<true, true> =>
  optional(of !== undefined, writeTo('f32'));

/** For a kernel's key. */
export const sumsKey = (of: Summed | undefined): string => (of === undefined ? '' : ` sums ${of}`);

/** Vectors of four rows (columns) of a tile. */
const groupsOf = (tile: MatmulTile, of: Summed): number => (of === 'a' ? tile.rows : tile.columns) / 4;

/** Of the tiles that share a part of the operand, one sums it. */
const isFirst = (of: Summed): string => (of === 'a' ? 'tile_column == 0u' : 'tile_row == 0u');

/**
 * Adds the terms in workgroup memory to `operand_sums`. Invocations are a multiple of the groups of a tile, so that each
 * finds the same four rows (columns) in every vector it takes; and the tile is a multiple of the invocations.
 */
export function addTile(tile: MatmulTile, of: Summed): string {
  const invocations = invocationsOf(tile);
  const vectors = (groupsOf(tile, of) * tile.depth) / invocations;
  const add = (i: number): string => `operand_sums += ${of}_tile[local + ${i * invocations}u];`;
  return `if (${isFirst(of)}) { ${times(vectors, add, ' ')} }`;
}

/** Joins the sums of all invocations, in order, and writes those of `part`. The tile's memory is free by then. */
export function joinSums(tile: MatmulTile, of: Summed): string {
  const groups = groupsOf(tile, of);
  const array = `${of}_tile`;
  return `if (${isFirst(of)}) {
    workgroupBarrier();
    ${array}[local] = operand_sums;
    workgroupBarrier();
    if (local < ${groups}u) {
      for (var other = local + ${groups}u; other < INVOCATIONS; other += ${groups}u) { operand_sums += ${array}[other]; }
      ${putSums(of, `${of === 'a' ? 'tile_row' : 'tile_column'} + 4u * local`, 'operand_sums', 'part')}
    }
  }`;
}

/** Writes four of a part's sums, except those beyond the edge. */
export function putSums(of: Summed, place: string, four: string, part?: string): string {
  const start = `params.operand_sums_out_base${part === undefined ? '' : ` + ${part} * ${sumsLength(of)}`}`;
  return `let place = ${place};
      for (var i = 0u; i < 4u && place + i < ${sumsLength(of)}; i++) {
        operand_sums_out[${start} + place + i] = ${four}[i];
      }`;
}
