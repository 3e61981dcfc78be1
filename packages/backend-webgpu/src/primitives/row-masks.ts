import { type Shape, sizeOf } from '@topk-attention/core';
import type { DeviceFacts } from '../runtime/facts.js';
import { broadcastStrides, collapse } from './strides.js';

/** Axes in front of the last that a mask may step through on its own. */
const MASK_AXES = 3;

/** How a mask that broadcasts to rows is read. */
export interface RowMask {
  /** Whether neighbours along a row have entries of their own, or share the row's. */
  readonly kind: 'entries' | 'rows';
  /** Of the axes in front of the last, as few as possible. */
  readonly extents: readonly number[];
  readonly strides: readonly number[];
}

/** What the text of a kernel depends on. */
export type RowMaskKind = RowMask['kind'] | 'none';

/** Rows, and a mask that has as many axes, each as long as theirs or 1. */
export interface MaskedRows {
  readonly shape: Shape;
  readonly visible?: Shape;
}

/** The mask of rows; undefined if there is none. */
export function rowMaskOf({ shape, visible }: MaskedRows): RowMask | undefined {
  if (visible === undefined) return undefined;
  const strides = broadcastStrides(visible, shape);
  const walk = collapse({ extents: shape.slice(0, -1), strides: [strides.slice(0, -1)] });
  return {
    kind: visible.at(-1) === 1 ? 'rows' : 'entries',
    extents: walk.extents,
    strides: walk.strides[0] as readonly number[],
  };
}

/**
 * Why a kernel that binds rows and their mask whole cannot take them; empty if it can.
 *
 * @param nothing the reason against rows without entries
 */
export function rowRefusals(
  rows: MaskedRows,
  { bindingBytes }: DeviceFacts,
  nothing: string,
): readonly string[] {
  const { shape, visible = [] } = rows;
  if (sizeOf(shape) === 0) return [nothing];
  const refusals: string[] = [];
  if (4 * Math.max(sizeOf(shape), sizeOf(visible)) > bindingBytes) {
    refusals.push(`a tensor exceeds a binding of ${bindingBytes} bytes`);
  }
  const axes = rowMaskOf(rows)?.extents.length ?? 0;
  if (axes > MASK_AXES) refusals.push(`a mask that steps through ${axes} axes, more than ${MASK_AXES}`);
  return refusals;
}

/** The uniforms that `seenFrom` reads. */
export const rowMaskUniforms: Readonly<Record<'extents' | 'strides', readonly ['u32', number]>> = {
  extents: ['u32', MASK_AXES],
  strides: ['u32', MASK_AXES],
};

/** Extents and strides of the mask in front of the last axis, as uniforms. */
export function rowMaskPlaces(mask: RowMask | undefined): {
  readonly extents: readonly number[];
  readonly strides: readonly number[];
} {
  const padded = (numbers: readonly number[] = [], value: number): number[] => [
    ...new Array<number>(MASK_AXES - numbers.length).fill(value),
    ...numbers,
  ];
  return { extents: padded(mask?.extents, 1), strides: padded(mask?.strides, 0) };
}

/** `seen_from(row)`: where the mask of a row begins. */
export function seenFrom(mask: RowMaskKind): string {
  if (mask === 'none') return 'fn seen_from(row: u32) -> u32 { return 0u; }';
  return `fn seen_from(row: u32) -> u32 {
  let outer = row / params.extents_2;
  return outer / params.extents_1 * params.strides_0 + outer % params.extents_1 * params.strides_1
    + row % params.extents_2 * params.strides_2;
}`;
}
