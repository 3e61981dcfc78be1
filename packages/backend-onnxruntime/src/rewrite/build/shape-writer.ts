import type { NodeProto } from '../../onnx/messages.js';
import { isPointwise } from '../extents/elementwise.js';
import { axisOf } from '../extents/known.js';
import { type Axes, isOne, isSame, type Length, type Lengths, lengthAt } from '../extents/lengths.js';
import { intOf, intsOf, operatorOf } from '../graph/attributes.js';
import type { GraphIndex } from '../graph/graph-index.js';
import type { NodeWriter } from './node-writer.js';
import { MOST_STEPS } from './row-slicer.js';

/** Writes shapes of values with two long axes, such as scores and masks, without the values themselves. */
export class ShapeWriter {
  readonly #index: GraphIndex;
  readonly #lengths: Lengths;
  readonly #writer: NodeWriter;
  readonly #long: readonly Length[];
  readonly #shapes = new Map<string, string | undefined>();
  #steps = 0;

  constructor(index: GraphIndex, lengths: Lengths, writer: NodeWriter, long: readonly Length[]) {
    this.#index = index;
    this.#lengths = lengths;
    this.#writer = writer;
    this.#long = long;
  }

  /** What a node Shape gives, under its name; false, and nothing of use written, where its input cannot be followed. */
  replace(node: NodeProto): boolean {
    const [name] = node.input as [string];
    const whole = this.#shape(name);
    const rank = this.#axes(name)?.dims.length;
    if (whole === undefined || rank === undefined) return false;
    const places = Array.from({ length: rank }, (_, axis) => axis);
    const wanted = places.slice(intOf(node, 'start') ?? 0, intOf(node, 'end') ?? rank);
    this.#writer.opInto(node.output, 'Gather', [whole, this.#writer.i64(wanted)], { axis: 0 });
    return true;
  }

  isLong(name: string): boolean {
    const axes = this.#axes(name);
    if (axes === undefined) return false;
    const places = axes.dims.filter((_, axis) => {
      const extent = lengthAt(axes, axes.dims.length - 1 - axis);
      return this.#long.some((length) => isSame(length, extent));
    });
    return places.length > 1;
  }

  #axes(name: string): Axes | undefined {
    return this.#lengths.axes(this.#index.graph, name);
  }

  #shape(name: string): string | undefined {
    if (!this.#shapes.has(name)) {
      this.#steps++;
      this.#shapes.set(name, this.#steps > MOST_STEPS ? undefined : this.#newShape(name));
      this.#steps--;
    }
    return this.#shapes.get(name);
  }

  #newShape(name: string): string | undefined {
    const node = this.#index.producer(name);
    if (node === undefined || !this.isLong(name)) return this.#writer.op('Shape', [name]);
    const axes = this.#axes(name) as Axes;
    const rank = axes.dims.length;
    const operator = operatorOf(node);
    if (isPointwise(operator))
      return this.#gathered(axes, (axis) => this.#operandAxis(node, axes, rank - 1 - axis));
    const [first, second = ''] = node.input as [string, string?];
    const [left, right] = [this.#axes(first)?.dims.length, this.#axes(second)?.dims.length];
    switch (operator) {
      case 'Dropout':
      case 'Softmax':
        return this.#shape(first);
      case 'MatMul':
        return this.#gathered(axes, (axis) => {
          const fromRight = rank - 1 - axis;
          if (fromRight === 0) return right === undefined ? undefined : [second, right - 1];
          if (fromRight === 1) return left === undefined ? undefined : [first, left - 2];
          return this.#operandAxis(node, axes, fromRight);
        });
      case 'Transpose': {
        const order = intsOf(node, 'perm');
        return this.#gathered(axes, (axis) => [first, order?.[axis] ?? rank - 1 - axis]);
      }
      case 'Gather': {
        if (left === undefined || right === undefined) return undefined;
        const at = axisOf(intOf(node, 'axis') ?? 0, left);
        return this.#gathered(axes, (axis) => {
          if (axis < at) return [first, axis];
          return axis < at + right ? [second, axis - at] : [first, axis - right + 1];
        });
      }
      default:
        return undefined;
    }
  }

  /** An operand that has the extent of the output at an axis, and its axis. */
  #operandAxis(node: NodeProto, axes: Axes, fromRight: number): readonly [string, number] | undefined {
    const wanted = lengthAt(axes, fromRight);
    for (const input of node.input) {
      const operand = this.#axes(input);
      if (operand === undefined || operand.dims.length <= fromRight) continue;
      const extent = lengthAt(operand, fromRight);
      // An extent of one would do only where no operand has another.
      if (isSame(extent, wanted)) return [input, operand.dims.length - 1 - fromRight];
    }
    return undefined;
  }

  /** A shape whose entries are those of other values' shapes. */
  #gathered(axes: Axes, from: (axis: number) => readonly [string, number] | undefined): string | undefined {
    const parts: string[] = [];
    for (const axis of axes.dims.keys()) {
      if (isOne(lengthAt(axes, axes.dims.length - 1 - axis))) {
        parts.push(this.#writer.i64([1]));
        continue;
      }
      const source = from(axis);
      const shape = source && this.#shape(source[0]);
      if (source === undefined || shape === undefined) return undefined;
      parts.push(this.#writer.pick(shape, [source[1]]));
    }
    return this.#writer.concat(parts);
  }
}
