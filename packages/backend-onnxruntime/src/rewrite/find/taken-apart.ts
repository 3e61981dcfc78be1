import type { NodeProto } from '../../onnx/messages.js';
import { operatorOf } from '../graph/attributes.js';
import type { GraphIndex } from '../graph/graph-index.js';

const PASSING: ReadonlySet<string> = new Set(['Cast', 'Identity', 'Dropout']);
const PRODUCTS: ReadonlySet<string> = new Set(['MatMul', 'com.microsoft.FusedMatMul']);

/**
 * Whether a node is the quotient that a softmax in single steps ends in, exp(x) / sum(exp(x)), and that then multiplies values:
 * attention that is not looked for, and must be named.
 */
export function isTakenApart(node: NodeProto, index: GraphIndex): boolean {
  const [powers = '', total = ''] = node.input;
  if (node.opType !== 'Div' || index.producer(powers)?.opType !== 'Exp') return false;
  const sum = index.producer(total);
  if (sum?.opType !== 'ReduceSum' || sum.input[0] !== powers) return false;
  const seen = new Set<string>();
  const open = [node.output[0] ?? ''];
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    if (seen.has(name)) continue;
    seen.add(name);
    for (const user of index.users(name)) {
      const operator = operatorOf(user);
      const isValued = user.input[0] === name && !index.isConstant(user.input[1] ?? '');
      if (PRODUCTS.has(operator) && isValued) return true;
      if (PASSING.has(operator)) open.push(user.output[0] ?? '');
    }
  }
  return false;
}
