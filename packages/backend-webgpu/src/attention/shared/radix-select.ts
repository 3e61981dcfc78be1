import { floatClasses, orderedKey32 } from '../../wgsl/numbers.js';
import { text } from './radix-select.wgsl.js';

/** Invocations of a workgroup that runs a selection. */
export const SELECT_INVOCATIONS = 256;

/**
 * `select_row(t, start, visible, k)`: the k best of a row of scores, found exactly by a whole workgroup: a radix
 * selection over ordered 32-bit keys, eight bits per pass, ties to the lower index. Calls `keep(slot, key, bits)` once
 * per kept key, slots ascending with keys. Returns how many are kept, or NAN_ROW when a valid score is NaN, in which
 * case nothing is kept.
 *
 * The kernel supplies `score_bits(at: u32) -> u32`, -inf for hidden keys, and `keep`. Workgroup memory: 5 KiB.
 */
export const radixSelect: string = `
${floatClasses}
${orderedKey32}
${text}`;
