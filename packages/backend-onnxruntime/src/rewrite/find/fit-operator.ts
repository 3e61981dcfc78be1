import { dataTypes } from '../../onnx/data-types.js';
import type { NodeProto } from '../../onnx/messages.js';
import { type Axes, isFixed, type Lengths, lengthAt } from '../extents/lengths.js';
import { floatOf, intOf, operatorOf } from '../graph/attributes.js';
import { type AttentionBlock, nameOf } from './block.js';
import { holdsInput } from './holds-input.js';
import { sameNumber } from './same-number.js';

/** A block as ONNX Runtime's MultiHeadAttention takes it. */
export interface OperatorBlock {
  /** [batch, heads, L, d], or [batch, L, d] for one head; not yet scaled. */
  readonly queries: string;
  /** [..., d, keys], or [..., keys, d]; not yet scaled. */
  readonly keys: string;
  readonly areKeysTurned: boolean;
  /** [..., keys, d of the values] */
  readonly values: string;
  /** Undefined where there is no axis for them. */
  readonly heads: number | undefined;
  readonly depth: number;
  readonly valueDepth: number;
  /** What products of queries and keys are multiplied with. Not 0, by which the operator understands its default. */
  readonly scale: number;
}

/** Why a block does not become the operator. */
export interface NoFit {
  readonly reason: string;
}

/**
 * A block as the operator takes it. With a mask, added numbers or causality its kernel for CPUs makes all scores at once, and in
 * half precision always; and it has no heads that share keys. Such blocks do not fit.
 *
 * @param operator What the block was in the file, if it was an operator: named in reasons in place of the block's nodes.
 */
export function fitOperator(
  block: AttentionBlock,
  lengths: Lengths,
  operator?: NodeProto,
): OperatorBlock | NoFit {
  const { scores, product } = block;
  const no = (node: NodeProto, what: string): NoFit => {
    const named = operator ?? node;
    return { reason: `${operatorOf(named)} ${nameOf(named)} ${what}` };
  };
  if (intOf(scores, 'transBatchB') === 1) return no(scores, 'is more than a product');
  if (operatorOf(product) !== 'MatMul') return no(product, 'is more than a product');
  const heads = headsOf(block, lengths);
  if ('reason' in heads) return heads;
  const above = factorAbove(block, lengths);
  if (typeof above !== 'number') {
    const adds = /^(Add|Sub|Where)$/.test(above.opType ?? '');
    return no(above, adds ? 'may hide keys or add to the scores' : 'changes the scores');
  }
  const changed = changedBelow(block, lengths);
  if (changed !== undefined) return no(changed, 'changes the weights');
  // They would be put into the operator's order and back: for the one query of a decoder that takes longer than attention.
  if ([scores, product].some(({ input }) => holdsInput(block.index, input[1] as string)))
    return { reason: 'its keys or values come from an input, and the operator would copy them in every run' };
  const [queries, keys] = [unscaled(block, lengths, 0), unscaled(block, lengths, 1)];
  // The attribute is a float32.
  const scale = Math.fround(queries.factor * keys.factor * (floatOf(scores, 'alpha') ?? 1) * above);
  if (scale === 0 || !Number.isFinite(scale)) return { reason: `its scores are multiplied with ${scale}` };
  return {
    ...{ ...heads, scale, queries: queries.name, keys: keys.name },
    areKeysTurned: intOf(scores, 'transB') !== 1,
    values: product.input[1] as string,
  };
}

/** The heads of a block in which each has queries, keys and values of its own. */
function headsOf(
  { index, scores, product }: AttentionBlock,
  lengths: Lengths,
): Pick<OperatorBlock, 'heads' | 'depth' | 'valueDepth'> | NoFit {
  const names = [...scores.input.slice(0, 2), product.input[1] as string, ...product.output];
  const axes = names.map((name) => lengths.axes(index.graph, name) as Axes);
  const [q, k, v] = axes as [Axes, Axes, Axes];
  if (axes.some(({ type }) => type !== dataTypes.float))
    return { reason: 'it has numbers other than float32' };
  const rank = q.dims.length;
  if (rank !== 3 && rank !== 4) return { reason: `its queries have ${rank} axes` };
  const leadOf = ({ dims, again }: Axes): string => `${dims.slice(0, -2)};${again.slice(0, -2)}`;
  if (!axes.every((one) => leadOf(one) === leadOf(q))) {
    return { reason: `heads share keys or values: [${k.dims}] and [${v.dims}] for queries [${q.dims}]` };
  }
  const [depth, valueDepth, heads] = [lengthAt(q, 0), lengthAt(v, 0), lengthAt(q, 2)];
  if (![depth, valueDepth].every(isFixed) || (rank === 4 && !isFixed(heads)))
    return { reason: 'the number of its heads, or their width, is open' };
  return { heads: rank === 4 ? heads.one : undefined, depth: depth.one, valueDepth: valueDepth.one };
}

interface Scaled {
  readonly name: string;
  readonly factor: number;
}

/** What an operand of the score product is made of by a scale, and the scale. */
function unscaled(block: AttentionBlock, lengths: Lengths, at: 0 | 1): Scaled {
  const node = block.scales[at];
  for (const name of node?.input ?? []) {
    const factor = factorOf(node as NodeProto, name, block, lengths);
    if (factor !== undefined) return { name, factor };
  }
  return { name: block.scores.input[at] as string, factor: 1 };
}

/** By what the nodes between the product and the softmax multiply the scores, or the first that does something else. */
function factorAbove(block: AttentionBlock, lengths: Lengths): number | NodeProto {
  let [name, product] = [block.scores.output[0] as string, 1];
  for (const node of block.above) {
    const factor = factorOf(node, name, block, lengths);
    if (factor === undefined) return node;
    product *= factor;
    name = node.output[0] as string;
  }
  return product;
}

/** The node that changes the weights; a guard against rows without keys does not, as nothing hides keys. */
function changedBelow(block: AttentionBlock, lengths: Lengths): NodeProto | undefined {
  const { index, softmax, below } = block;
  let name = softmax.output[0] as string;
  for (const node of below) {
    const [condition = '', instead = '', weights = ''] = node.input;
    if (node.opType === 'IsNaN' && condition === name) continue;
    const test = node.opType === 'Where' ? index.producer(condition) : undefined;
    const isGuard = test?.opType === 'IsNaN' && test.input[0] === name && weights === name;
    const isSame = isGuard
      ? sameNumber(index, lengths, instead) === 0
      : node.opType === 'Dropout' || factorOf(node, name, block, lengths) === 1;
    if (!isSame) return node;
    name = node.output[0] as string;
  }
  return undefined;
}

/** By what a node multiplies a value; undefined where it does something else with it. */
function factorOf(
  node: NodeProto,
  name: string,
  { index }: AttentionBlock,
  lengths: Lengths,
): number | undefined {
  const { input } = node;
  const numberAt = (place: number): number | undefined => sameNumber(index, lengths, input[place] as string);
  const other = input[0] === name ? 1 : 0;
  switch (operatorOf(node)) {
    case 'Identity':
      return 1;
    case 'Cast':
      return intOf(node, 'to') === dataTypes.float ? 1 : undefined;
    case 'Mul':
      return numberAt(other);
    case 'Div': {
      const divisor = other === 1 ? numberAt(1) : undefined;
      return divisor === undefined ? undefined : 1 / divisor;
    }
    case 'Add':
      return numberAt(other) === 0 ? 1 : undefined;
    case 'Where': {
      const chosen = numberAt(0) === 0 ? 2 : 1;
      return numberAt(0) !== undefined && input[chosen] === name ? 1 : undefined;
    }
    default:
      return undefined;
  }
}
