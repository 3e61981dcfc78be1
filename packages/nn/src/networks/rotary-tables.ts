import { positionAngles } from './position-angles.js';

/** Cosines and sines of positions from the first on, row-major: [length, width / 2]. */
export interface RotaryTables {
  readonly cosines: Float64Array;
  readonly sines: Float64Array;
}

/** Tables of positions from 0 on. */
interface Kept extends RotaryTables {
  readonly length: number;
}

/** By width and base, of which a model has few. */
const kept = new Map<string, Kept>();

/** Most numbers of each kept table, 8 MB: positions beyond it are computed anew. A choice. */
const MOST_KEPT = 2 ** 20;

/**
 * The tables of a call. Those from position 0 on are kept, for the longest text so far: every layer and every step of a
 * decoder asks for the same ones.
 */
export function rotaryTables(offset: number, length: number, width: number, base: number): RotaryTables {
  const pairs = width / 2;
  const end = offset + length;
  if (end * pairs > MOST_KEPT) return tablesOf(offset, length, width, base);
  const key = `${width} ${base}`;
  let tables = kept.get(key);
  if (tables === undefined || tables.length < end) {
    // Doubled, so that a decoder does not make them anew at each step.
    const longer = Math.max(end, Math.min(2 * (tables?.length ?? 0), Math.floor(MOST_KEPT / pairs)));
    tables = { length: longer, ...tablesOf(0, longer, width, base) };
    kept.set(key, tables);
  }
  const part = (of: Float64Array): Float64Array => of.subarray(offset * pairs, end * pairs);
  return { cosines: part(tables.cosines), sines: part(tables.sines) };
}

function tablesOf(offset: number, length: number, width: number, base: number): RotaryTables {
  const angles = positionAngles(offset, length, width, base);
  return { cosines: angles.map(Math.cos), sines: angles.map(Math.sin) };
}
