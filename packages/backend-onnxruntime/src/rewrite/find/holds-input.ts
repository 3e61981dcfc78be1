import { operatorOf } from '../graph/attributes.js';
import type { GraphIndex } from '../graph/graph-index.js';

/** Operators that give the elements of their inputs in another order or form, and scales. */
const PASSING: ReadonlySet<string> = new Set([
  'Cast',
  'Concat',
  'Div',
  'Expand',
  'Identity',
  'Mul',
  'Reshape',
  'Squeeze',
  'Transpose',
  'Unsqueeze',
]);

/** Whether a value holds the numbers of an input, such as the keys of a past, alone or beside those that are computed. */
export function holdsInput(index: GraphIndex, value: string): boolean {
  const names = new Set([value]);
  // A set goes on to what is added on the way.
  for (const name of names) {
    const node = index.producer(name);
    if (node === undefined) {
      if (!index.isConstant(name)) return true;
      continue;
    }
    const operator = operatorOf(node);
    if (!PASSING.has(operator)) continue;
    const isForm = operator === 'Reshape' || operator === 'Expand' || /queeze$/.test(operator);
    for (const input of isForm ? node.input.slice(0, 1) : node.input) names.add(input);
  }
  return false;
}
