import { text as philoxWgsl } from '../../../wgsl/philox.wgsl.js';
import { groupIndex } from '../../shared/reductions.js';
import { loadRow, notNumbers, type RowLayout } from '../layout/rows.js';

/** What the text of a row kernel depends on. */
export interface RowShape {
  readonly headDim: number;
  readonly valueDim: number;
  readonly layout: RowLayout;
  readonly dropout: boolean;
}

/** Functions that both row kernels call, including `dropout_factor(row, slot)`. */
export function rowFunctions({ layout, dropout }: RowShape): string {
  return `
${loadRow('key', layout)}
${loadRow('value', layout)}
${loadRow('gradient', layout)}
${groupIndex}
${notNumbers}
${dropout ? philoxWgsl : ''}
// 1 / (1 - rate) or 0, keyed by (seed, batch, head, query, slot); 1 without dropout.
fn dropout_factor(row: u32, slot: u32) -> f32 {
${
  dropout
    ? `  let place = params.first_row + row;
  let head = place / params.query_length;
  let at = vec4u(head / params.query_heads, head % params.query_heads, place % params.query_length, slot);
  return select(0.0, params.kept_factor, random_word(at, params.seed) >= params.threshold);`
    : '  return 1.0;'
}
}`;
}
