import { dataTypes } from '../../onnx/data-types.js';
import type { Lengths } from '../extents/lengths.js';
import { intOf, operatorOf } from '../graph/attributes.js';
import type { GraphIndex } from '../graph/graph-index.js';

/** Exporters put a handful of nodes between a constant and its use. */
const MOST_STEPS = 32;

/** Operators that give elements of their first input, each once or several times. */
const COPIES: ReadonlySet<string> = new Set([
  'Expand',
  'Identity',
  'Reshape',
  'Squeeze',
  'Transpose',
  'Unsqueeze',
]);

/**
 * The number that every element of a value is, with true as 1; undefined where elements differ, or hang on an input or a length.
 * Exporters write masks that hide nothing: a constant of the file, expanded, from which zeros to add are chosen.
 */
export function sameNumber(
  index: GraphIndex,
  lengths: Lengths,
  name: string,
  steps: number = MOST_STEPS,
): number | undefined {
  if (index.isConstant(name)) {
    const [first, ...others] = lengths.fixedValues(index.graph, name) ?? [];
    return others.every((other) => other === first) ? first : undefined;
  }
  const node = index.producer(name);
  if (node === undefined || steps === 0) return undefined;
  const of = (input: number): number | undefined =>
    sameNumber(index, lengths, node.input[input] as string, steps - 1);
  const operator = operatorOf(node);
  if (COPIES.has(operator)) return of(0);
  if (operator === 'Where') {
    const condition = of(0);
    return condition === undefined ? undefined : of(condition === 0 ? 2 : 1);
  }
  if (operator === 'Cast') {
    const number = of(0);
    const isKept = number === 0 || number === 1 || intOf(node, 'to') === dataTypes.float;
    return isKept ? number : undefined;
  }
  return undefined;
}
