import { fill } from '../../../wgsl/fill.js';
import { groupReductions } from '../../shared/reductions.js';
import { baseOf, innerProduct, powerOfTwo, vectorType } from '../layout/rows.js';
import { type RowShape, rowFunctions } from './row-shape.js';
import { text } from './rows-plain.wgsl.js';

export const PLAIN_INVOCATIONS = 64;

/**
 * One workgroup per query: from its kept keys and scores, with m the factors of dropout,
 *
 *     P = softmax(scores),  dP_s = m_s (dO . V_s),  dS = P (dP - sum P dP),  dQ = scale sum dS_s K_s
 *
 * and, for the gradients of keys and values, the pair (P m, dS) of every slot. Any k, D and Dv. Passes over memory:
 * scores twice, V and K rows of the kept keys once, pairs written twice and read twice. Workgroup memory: 256 B, and
 * 1 KiB for the parts of dQ. A score of NaN or +inf makes the whole row NaN; slots without a key have weight and
 * gradient 0.
 */
export function plainRows(shape: RowShape): string {
  const { headDim, valueDim, layout } = shape;
  const { width } = layout;
  const type = vectorType(width);
  const columns = headDim / width;
  const across = Math.min(PLAIN_INVOCATIONS, powerOfTwo(columns));
  return `${rowFunctions(shape)}
${innerProduct(width)}
${groupReductions(PLAIN_INVOCATIONS)}
${fill(text, {
  ...{ type, columns, across, parts: PLAIN_INVOCATIONS / across },
  value_columns: valueDim / width,
  key_base: baseOf('key', layout),
  value_base: baseOf('value', layout),
  gradient_base: baseOf('gradient', layout),
  result_base: baseOf('result', layout),
})}`;
}
