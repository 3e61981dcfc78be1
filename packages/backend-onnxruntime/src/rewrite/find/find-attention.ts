import { dataTypes } from '../../onnx/data-types.js';
import type { NodeProto } from '../../onnx/messages.js';
import { isPointwise } from '../extents/elementwise.js';
import { type Axes, isOne, isSame, type Length, type Lengths, lengthAt } from '../extents/lengths.js';
import { intOf, operatorOf } from '../graph/attributes.js';
import type { GraphIndex } from '../graph/graph-index.js';
import { type AttentionBlock, nameOf, Refused } from './block.js';
import { scaleOf } from './scale.js';

/**
 * The attention block around a softmax, or undefined for a softmax of another kind (no product of two computed values
 * leads to it, or none follows).
 *
 * @throws Refused for an attention block of a form that is not rewritten.
 */
export function findAttention(
  index: GraphIndex,
  softmax: NodeProto,
  lengths: Lengths,
  opset: number,
): AttentionBlock | undefined {
  return new Finder(index, softmax, lengths, opset).find();
}

const PRODUCTS: ReadonlySet<string> = new Set(['MatMul', 'com.microsoft.FusedMatMul']);
/** Products of computed values that are found to be named, and not rewritten. */
const OTHER_PRODUCTS: ReadonlySet<string> = new Set([
  'Einsum',
  'MatMulInteger',
  'QLinearMatMul',
  'com.microsoft.MatMulIntegerToFloat',
]);

const QUANTIZES: ReadonlySet<string> = new Set([
  'DynamicQuantizeLinear',
  'QuantizeLinear',
  'DequantizeLinear',
]);
/** What a block may have on the way without being one that is rewritten. */
const PASSED: ReadonlySet<string> = new Set([
  ...QUANTIZES,
  'Expand',
  'Flatten',
  'Pad',
  'Slice',
  'Squeeze',
  'Transpose',
  'Unsqueeze',
]);

/** A node on the way from a score product, with the number of ways to it. */
interface PathEnd {
  readonly node: NodeProto;
  readonly paths: number;
  readonly before: PathEnd | undefined;
}

/** Inputs of a step whose elements its output has. */
function passedInputs({ opType, input }: NodeProto): readonly string[] {
  return opType === 'Reshape' || opType === 'Dropout' ? input.slice(0, 1) : input;
}

class Finder {
  readonly #index: GraphIndex;
  readonly #softmax: NodeProto;
  readonly #lengths: Lengths;
  readonly #opset: number;

  constructor(index: GraphIndex, softmax: NodeProto, lengths: Lengths, opset: number) {
    this.#index = index;
    this.#softmax = softmax;
    this.#lengths = lengths;
    this.#opset = opset;
  }

  find(): AttentionBlock | undefined {
    const { input, output } = this.#softmax;
    const before = input[0] as string;
    const products = this.#looseProducts(before);
    const follows = this.#isMultiplied(output[0] as string);
    if (products.length === 0 || !follows) return undefined;
    const whole = products.find(({ opType }) => /Integer|QLinear/.test(opType ?? ''));
    if (whole !== undefined) {
      const reason = `${operatorOf(whole)} ${nameOf(whole)} multiplies queries and keys as whole numbers; quantize weights alone`;
      throw new Refused('quantized', reason);
    }
    const axes = this.#axes(before);
    this.#checkAxis(axes);
    const queryLength = lengthAt(axes, 1);
    const keyLength = lengthAt(axes, 0);
    const path = this.#pathTo(before, queryLength, keyLength);
    const [scores, ...above] = path as [NodeProto, ...NodeProto[]];
    if (intOf(scores, 'transA') === 1 || intOf(scores, 'transBatchA') === 1) {
      throw new Refused('fused-operator', `${operatorOf(scores)} ${nameOf(scores)} transposes the queries`);
    }
    const shapes = this.#checkUsers(path);
    const { below, product } = this.#below(shapes, queryLength, keyLength);
    const made = this.#axes(product.output[0] as string);
    return {
      index: this.#index,
      softmax: this.#softmax,
      scores,
      scales: [this.#scaleOf(scores, 0), this.#scaleOf(scores, 1)],
      above,
      below,
      product,
      shapes,
      queryLength,
      keyLength,
      weightRank: axes.dims.length,
      scoreType: axes.type,
      valueRank: made.dims.length,
      whyNotSelected: this.#whyNotSelected(axes, below, product),
      type: made.type,
    };
  }

  #scaleOf({ input }: NodeProto, at: number): NodeProto | undefined {
    return scaleOf(this.#index, this.#lengths, input[at] as string);
  }

  #axes(name: string): Axes {
    const axes = this.#lengths.axes(this.#index.graph, name);
    if (axes !== undefined) return axes;
    throw new Refused('unknown-extents', this.#lengths.first.reason(this.#index.graph, name));
  }

  #checkAxis({ dims }: Axes): void {
    const axis = intOf(this.#softmax, 'axis') ?? (this.#opset < 13 ? 1 : -1);
    if (dims.length < 2) throw new Refused('softmax-axis', 'the softmax is over a single row');
    if (axis !== -1 && axis !== dims.length - 1) {
      throw new Refused('softmax-axis', `the softmax is over axis ${axis} of ${dims.length}, not the last`);
    }
  }

  /** Products of two computed values from which a value is made element by element, whatever their extents. */
  #looseProducts(name: string): readonly NodeProto[] {
    const isComputed = (node: NodeProto): boolean =>
      OTHER_PRODUCTS.has(operatorOf(node)) &&
      this.#factors(node).every((one) => !this.#index.isConstant(one));
    const products: NodeProto[] = [];
    const names = new Set([name]);
    // A set goes on to what is added on the way.
    for (const one of names) {
      const node = this.#index.producer(one);
      if (node === undefined) continue;
      if (this.#isProduct(node) || isComputed(node)) products.push(node);
      else if (this.#isStep(node) || PASSED.has(operatorOf(node))) {
        for (const input of node.input) names.add(input);
      }
    }
    return products;
  }

  /** The operands of a product without scales and zero points, as they were before they were quantized. */
  #factors({ opType, input }: NodeProto): readonly string[] {
    if (opType === 'Einsum') return input;
    return [input[0], opType === 'QLinearMatMul' ? input[3] : input[1]].map((name = '') => {
      const node = this.#index.producer(name);
      return node !== undefined && QUANTIZES.has(node.opType ?? '') ? (node.input[0] as string) : name;
    });
  }

  #isProduct(node: NodeProto): boolean {
    return PRODUCTS.has(operatorOf(node)) && node.input.every((name) => !this.#index.isConstant(name));
  }

  #isStep(node: NodeProto): boolean {
    return isPointwise(operatorOf(node)) || node.opType === 'Reshape' || node.opType === 'Dropout';
  }

  /** Whether a product follows on the weights, directly or after steps. */
  #isMultiplied(name: string): boolean {
    const names = new Set([name]);
    for (const one of names) {
      for (const user of this.#index.users(one)) {
        if (PRODUCTS.has(operatorOf(user)) || OTHER_PRODUCTS.has(operatorOf(user))) return true;
        if (this.#isStep(user) || PASSED.has(operatorOf(user)))
          for (const output of user.output) names.add(output);
      }
    }
    return false;
  }

  /** The nodes from the score product to the value, the product first. */
  #pathTo(name: string, rows: Length, columns: Length): readonly NodeProto[] {
    const ends = new Map<string, PathEnd>();
    for (const node of this.#stepsTo(name, rows, columns)) {
      const isStart = this.#isProduct(node);
      const before = isStart
        ? []
        : [...new Set(passedInputs(node))].flatMap((input) => ends.get(input) ?? []);
      const paths = isStart ? 1 : before.reduce((sum, end) => sum + end.paths, 0);
      ends.set(node.output[0] as string, { node, paths, before: before.find((end) => end.paths > 0) });
    }
    const last = ends.get(name);
    if (last?.paths === 1) {
      const path: NodeProto[] = [];
      for (let end: PathEnd | undefined = last; end !== undefined; end = end.before) path.push(end.node);
      return path.reverse();
    }
    const [node] = this.#looseProducts(this.#softmax.input[0] as string);
    const where = node === undefined ? '' : ` ${operatorOf(node)} ${nameOf(node)}`;
    throw !last?.paths
      ? new Refused('unknown-operator', `the scores come from${where} in a way that is not understood`)
      : new Refused('ambiguous', 'the scores are the sum of several products');
  }

  /** Products, and steps after them, from which a value is made with its extents kept, in order. */
  #stepsTo(name: string, rows: Length, columns: Length): readonly NodeProto[] {
    const reached = new Set<NodeProto>();
    const names = new Set([name]);
    for (const one of names) {
      const axes = this.#lengths.axes(this.#index.graph, one);
      if (axes === undefined || !isSame(lengthAt(axes, 1), rows) || !isSame(lengthAt(axes, 0), columns))
        continue;
      const node = this.#index.producer(one);
      if (node === undefined) continue;
      if (this.#isProduct(node)) reached.add(node);
      else if (this.#isStep(node)) {
        reached.add(node);
        for (const input of passedInputs(node)) names.add(input);
      }
    }
    return this.#index.graph.node.filter((node) => reached.has(node));
  }

  /** Each value on the path is used by the next node alone, and by those that ask for its shape: these are returned. */
  #checkUsers(path: readonly NodeProto[]): NodeProto[] {
    const shapes: NodeProto[] = [];
    for (const [at, node] of path.entries()) {
      const next = path[at + 1] ?? this.#softmax;
      const output = node.output[0] as string;
      if (this.#index.isOutput(output))
        throw new Refused('scores-used', `the scores ${output} are an output`);
      for (const user of this.#index.users(output)) {
        if (user.opType === 'Shape') shapes.push(user);
        else if (user !== next) {
          throw new Refused('scores-used', `the scores are also used by ${operatorOf(user)} ${nameOf(user)}`);
        }
      }
    }
    return shapes;
  }

  #below(
    shapes: NodeProto[],
    rows: Length,
    columns: Length,
  ): { readonly below: readonly NodeProto[]; readonly product: NodeProto } {
    const steps = new Set<NodeProto>();
    let product: NodeProto | undefined;
    const names = [this.#softmax.output[0] as string];
    for (let name = names.pop(); name !== undefined; name = names.pop()) {
      if (this.#index.isOutput(name)) throw new Refused('weights-used', `the weights ${name} are an output`);
      for (const user of this.#index.users(name)) {
        if (steps.has(user)) continue;
        if (user.opType === 'Shape') shapes.push(user);
        else if (PRODUCTS.has(operatorOf(user)) && user.input[0] === name && user.input[1] !== name) {
          if (product !== undefined && product !== user) {
            throw new Refused('weights-used', 'the weights are multiplied with two values');
          }
          product = user;
        } else {
          this.#checkStep(user, rows, columns);
          steps.add(user);
          names.push(user.output[0] as string);
        }
      }
    }
    if (product === undefined) throw new Refused('weights-used', 'no product follows on the weights');
    if (intOf(product, 'transA') === 1 || intOf(product, 'transBatchA') === 1) {
      throw new Refused('fused-operator', `${operatorOf(product)} ${nameOf(product)} transposes the weights`);
    }
    return { below: this.#index.graph.node.filter((node) => steps.has(node)), product };
  }

  #checkStep(node: NodeProto, rows: Length, columns: Length): void {
    const operator = operatorOf(node);
    if (!this.#isStep(node))
      throw new Refused('weights-used', `the weights are used by ${operator} ${nameOf(node)}`);
    // Ratio and mode are inputs from operator set 12 on.
    const mode = node.opType === 'Dropout' ? (node.input[2] ?? '') : '';
    if (mode !== '' && this.#lengths.fixedValues(this.#index.graph, mode)?.[0] !== 0) {
      throw new Refused('training', `Dropout ${nameOf(node)} may drop weights`);
    }
    const axes = this.#axes(node.output[0] as string);
    if (!isSame(lengthAt(axes, 1), rows) || !isSame(lengthAt(axes, 0), columns)) {
      throw new Refused('weights-used', `${operator} ${nameOf(node)} changes the extents of the weights`);
    }
  }

  /** Selecting needs values of each head, and weights that nothing but numbers touches. */
  #whyNotSelected(
    { dims, type }: Axes,
    below: readonly NodeProto[],
    product: NodeProto,
  ): Refused | undefined {
    const values = this.#axes(product.input[1] as string);
    if (`${values.dims.slice(0, -2)}` !== `${dims.slice(0, -2)}`) {
      return new Refused('shared-values', `heads share values: [${values.dims}] for weights [${dims}]`);
    }
    if (product.opType !== 'MatMul') {
      return new Refused(
        'fused-operator',
        `${operatorOf(product)} ${nameOf(product)} is more than a product`,
      );
    }
    if (type !== dataTypes.float && type !== dataTypes.float16)
      return new Refused('element-type', `scores of element type ${type}, not float32 or float16`);
    const ofWeights = new Set([this.#softmax, ...below].flatMap(({ output }) => output));
    for (const node of below) {
      if (node.opType === 'Reshape')
        return new Refused('weights-used', `Reshape ${nameOf(node)} of the weights`);
      for (const input of node.input) {
        if (input === '' || ofWeights.has(input)) continue;
        const axes = this.#axes(input);
        if (axes.dims.length > 0 && !isOne(lengthAt(axes, 0))) {
          return new Refused('weights-used', `${operatorOf(node)} ${nameOf(node)} has a value for every key`);
        }
      }
    }
    return undefined;
  }
}
