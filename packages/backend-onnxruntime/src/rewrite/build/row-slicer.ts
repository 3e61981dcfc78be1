import { sizeOf } from '@topk-attention/core';
import type { NodeProto } from '../../onnx/messages.js';
import { isPointwise } from '../extents/elementwise.js';
import { axisOf } from '../extents/known.js';
import { type Axes, isOne, isSame, type Length, type Lengths, lengthAt } from '../extents/lengths.js';
import { Refused } from '../find/block.js';
import { intOf, intsOf, operatorOf } from '../graph/attributes.js';
import type { GraphIndex } from '../graph/graph-index.js';
import type { NodeWriter } from './node-writer.js';

/** Cuts that move up further than so many nodes stop there, as the stack is finite; in the test models they pass 14. */
export const MOST_STEPS = 500;

/** Rows of a chunk: their numbers as a list, and how many they are, as a list of one. */
export interface Rows {
  readonly numbers: string;
  readonly count: string;
}

/**
 * Cuts rows out of values without making those values first: the cut moves up through the operators that made them, until
 * each piece has at most one long axis. A mask is then computed chunk by chunk.
 *
 * A cut value has as many rows as the chunk, or one where the value has one.
 */
export class RowSlicer {
  readonly #index: GraphIndex;
  readonly #lengths: Lengths;
  readonly #writer: NodeWriter;
  readonly #long: readonly Length[];
  readonly #cut = new Map<string, string>();
  #steps = 0;

  constructor(index: GraphIndex, lengths: Lengths, writer: NodeWriter, long: readonly Length[]) {
    this.#index = index;
    this.#lengths = lengths;
    this.#writer = writer;
    this.#long = long;
  }

  /** @param fromRight Which axis to cut: 0 for the last. */
  cut(name: string, fromRight: number, rows: Rows): string {
    const axes = this.#lengths.axes(this.#index.graph, name);
    // Optional inputs, numbers, and what is not known: nothing shorter can be put in its place.
    if (name === '' || axes === undefined) return name;
    const axis = axes.dims.length - 1 - fromRight;
    if (axis < 0 || isOne(lengthAt(axes, fromRight))) return name;
    const key = `${fromRight} ${rows.numbers} ${name}`;
    const known = this.#cut.get(key);
    if (known !== undefined) return known;
    const node = this.#index.producer(name);
    const isSunk = node !== undefined && !this.#index.isConstant(name) && this.#isLong(axes, fromRight);
    this.#steps++;
    const sunk = isSunk && this.#steps <= MOST_STEPS ? this.#sink(node, axes, axis, rows) : undefined;
    this.#steps--;
    const made = sunk ?? this.#writer.op('Gather', [name, rows.numbers], { axis });
    this.#cut.set(key, made);
    return made;
  }

  /** The shape that a reshape of whole scores asks for, with the chunk's number of rows as its last but one. */
  shapeOfRows(shape: string, rows: Rows): string {
    const rank = this.#lengths.axes(this.#index.graph, shape)?.dims[0];
    if (rank === undefined) throw new Refused('unknown-extents', `the shape ${shape} has an unknown length`);
    return this.#withRows(shape, rank - 2, rank, rows);
  }

  /** Whether another axis is as long as the queries or the keys. */
  #isLong(axes: Axes, fromRight: number): boolean {
    return axes.dims.some((_, axis) => {
      const place = axes.dims.length - 1 - axis;
      return place !== fromRight && this.#long.some((length) => isSame(length, lengthAt(axes, place)));
    });
  }

  #sink(node: NodeProto, axes: Axes, axis: number, rows: Rows): string | undefined {
    const operator = operatorOf(node);
    const rank = axes.dims.length;
    const fromRight = rank - 1 - axis;
    if (isPointwise(operator)) {
      return this.#writer.again(
        node,
        node.input.map((input) => this.cut(input, fromRight, rows)),
      );
    }
    switch (operator) {
      case 'ConstantOfShape':
        return this.#writer.again(node, [this.#withRows(node.input[0] as string, axis, rank, rows)]);
      case 'Expand': {
        const [x, shape] = node.input as [string, string];
        const listed = this.#lengths.axes(this.#index.graph, shape)?.dims[0];
        if (listed === undefined) return undefined;
        const place = axis - (rank - listed);
        const short = place < 0 ? shape : this.#withRows(shape, place, listed, rows);
        return this.#writer.again(node, [this.cut(x, fromRight, rows), short]);
      }
      case 'Unsqueeze':
      case 'Squeeze':
        return this.#moved(node, axis, rank, rows);
      case 'Transpose': {
        const from = intsOf(node, 'perm')?.[axis] ?? rank - 1 - axis;
        return this.#writer.again(node, [this.cut(node.input[0] as string, rank - 1 - from, rows)]);
      }
      case 'MatMul': {
        const [a, b] = node.input as [string, string];
        const left = fromRight === 0 ? a : this.cut(a, fromRight, rows);
        return this.#writer.again(node, [left, fromRight === 1 ? b : this.cut(b, fromRight, rows)]);
      }
      case 'DequantizeLinear': {
        const [x, scale, ...zero] = node.input as [string, string, ...string[]];
        // Several scales would go along an axis.
        if (this.#rank(scale) !== 0) return undefined;
        return this.#writer.again(node, [this.cut(x, fromRight, rows), scale, ...zero]);
      }
      case 'Concat':
        if (axisOf(intOf(node, 'axis') ?? 0, rank) === axis) return undefined;
        return this.#writer.again(
          node,
          node.input.map((input) => this.cut(input, fromRight, rows)),
        );
      case 'Gather':
        return this.#gather(node, axis, rows);
      case 'GatherND':
        return this.#gatherND(node, axis, rows);
      case 'Reshape':
        return this.#reshape(node, axes, axis, rows);
      case 'Slice':
        return this.#slice(node, axis, rank, rows);
      case 'Trilu':
        return fromRight === 1 ? this.#triangle(node, axes, rows) : undefined;
      default:
        return undefined;
    }
  }

  /** A shape with the number of rows at one place. */
  #withRows(shape: string, place: number, length: number, rows: Rows): string {
    const places = Array.from({ length }, (_, at) => at);
    const before = places.slice(0, place);
    const after = places.slice(place + 1);
    return this.#writer.concat([
      ...(before.length > 0 ? [this.#writer.pick(shape, before)] : []),
      rows.count,
      ...(after.length > 0 ? [this.#writer.pick(shape, after)] : []),
    ]);
  }

  #rank(name: string): number | undefined {
    return this.#lengths.axes(this.#index.graph, name)?.dims.length;
  }

  /** Through an operator that adds or removes axes of one. */
  #moved(node: NodeProto, axis: number, rank: number, rows: Rows): string | undefined {
    const [x, list = ''] = node.input as [string, string?];
    const inner = this.#rank(x);
    if (inner === undefined) return undefined;
    const listed = intsOf(node, 'axes') ?? this.#lengths.fixedValues(this.#index.graph, list);
    if (listed === undefined) return undefined;
    const isAdding = node.opType === 'Unsqueeze';
    const ones = listed.map((one) => axisOf(one, isAdding ? rank : inner));
    let from = axis;
    if (isAdding) from -= ones.filter((one) => one < axis).length;
    else for (const one of [...ones].sort((a, b) => a - b)) if (one <= from) from++;
    return this.#writer.again(node, [this.cut(x, inner - 1 - from, rows), ...node.input.slice(1)]);
  }

  #gather(node: NodeProto, axis: number, rows: Rows): string | undefined {
    const [data, indices] = node.input as [string, string];
    const dataRank = this.#rank(data);
    const indexRank = this.#rank(indices);
    if (dataRank === undefined || indexRank === undefined) return undefined;
    const at = axisOf(intOf(node, 'axis') ?? 0, dataRank);
    if (axis >= at && axis < at + indexRank) {
      return this.#writer.again(node, [data, this.cut(indices, indexRank - 1 - (axis - at), rows)]);
    }
    const from = axis < at ? axis : axis - indexRank + 1;
    return this.#writer.again(node, [this.cut(data, dataRank - 1 - from, rows), indices]);
  }

  #gatherND(node: NodeProto, axis: number, rows: Rows): string | undefined {
    const [data, indices] = node.input as [string, string];
    const dataRank = this.#rank(data);
    const indexAxes = this.#lengths.axes(this.#index.graph, indices);
    if (dataRank === undefined || indexAxes === undefined) return undefined;
    const batch = intOf(node, 'batch_dims') ?? 0;
    const indexRank = indexAxes.dims.length;
    if (axis < indexRank - 1) {
      const cutData = axis < batch ? this.cut(data, dataRank - 1 - axis, rows) : data;
      return this.#writer.again(node, [cutData, this.cut(indices, indexRank - 1 - axis, rows)]);
    }
    const from = batch + (indexAxes.dims.at(-1) as number) + axis - (indexRank - 1);
    return this.#writer.again(node, [this.cut(data, dataRank - 1 - from, rows), indices]);
  }

  /** Through a reshape that leaves the axis as it is, with as many elements before it as after it. */
  #reshape(node: NodeProto, axes: Axes, axis: number, rows: Rows): string | undefined {
    const [x, shape] = node.input as [string, string?];
    const before = this.#lengths.axes(this.#index.graph, x);
    if (before === undefined || shape === undefined) return undefined;
    const product = (dims: readonly number[], end: number): number => sizeOf(dims.slice(0, end));
    const from = before.dims.findIndex(
      (extent, at) =>
        extent === axes.dims[axis] &&
        before.again[at] === axes.again[axis] &&
        product(before.dims, at) === product(axes.dims, axis) &&
        product(before.again, at) === product(axes.again, axis),
    );
    // A 0 in the shape copies the extent at its place, which must not be that of the rows.
    const isCopied =
      from !== axis && this.#lengths.first.known(this.#index.graph, shape)?.values?.[from] === 0;
    if (from < 0 || isCopied) return undefined;
    const short = this.cut(x, before.dims.length - 1 - from, rows);
    return this.#writer.again(node, [short, this.#withRows(shape, axis, axes.dims.length, rows)]);
  }

  #slice(node: NodeProto, axis: number, rank: number, rows: Rows): string | undefined {
    const [data, starts, ends, listed = '', stepped = ''] = node.input as [
      string,
      string?,
      string?,
      string?,
      string?,
    ];
    const graph = this.#index.graph;
    if (starts === undefined || ends === undefined) return undefined;
    const count = this.#lengths.axes(graph, starts)?.dims[0];
    if (count === undefined) return undefined;
    const plain = Array.from({ length: count }, (_, at) => at);
    const axes = listed === '' ? plain : this.#lengths.fixedValues(graph, listed);
    const steps = stepped === '' ? plain.map(() => 1) : this.#lengths.fixedValues(graph, stepped);
    if (axes === undefined || steps === undefined) return undefined;
    const place = axes.findIndex((one) => axisOf(one, rank) === axis);
    const fromRight = rank - 1 - axis;
    if (place < 0) return this.#writer.again(node, [this.cut(data, fromRight, rows), ...node.input.slice(1)]);
    if (steps[place] !== 1) return undefined;
    const writer = this.#writer;
    const isFromStart = this.#lengths.fixedValues(graph, starts)?.[place] === 0;
    let moved = rows;
    if (!isFromStart) {
      const start = writer.at(starts, place);
      const isNegative = writer.op('Less', [start, writer.i64(0)]);
      const extent = writer.extent(data, axis);
      const fromEnd = writer.larger(writer.op('Add', [start, extent]), writer.i64(0));
      const first = writer.op('Where', [isNegative, fromEnd, start]);
      moved = { numbers: writer.op('Add', [rows.numbers, first]), count: rows.count };
    }
    const cut = this.cut(data, fromRight, moved);
    const rest = plain.filter((at) => at !== place);
    if (rest.length === 0) return cut;
    return writer.op('Slice', [
      cut,
      writer.pick(starts, rest),
      writer.pick(ends, rest),
      writer.i64(rest.map((at) => axes[at] as number)),
      writer.i64(rest.map((at) => steps[at] as number)),
    ]);
  }

  /** Rows of a triangle: an entry stays where its column is on the right side of row + k. */
  #triangle(node: NodeProto, { type, dims }: Axes, rows: Rows): string | undefined {
    const writer = this.#writer;
    const [x, diagonal = ''] = node.input as [string, string?];
    const cut = this.cut(x, 1, rows);
    const columns = writer.range(writer.extent(cut, dims.length - 1));
    const shifted = diagonal === '' ? rows.numbers : writer.op('Add', [rows.numbers, diagonal]);
    const bound = writer.unsqueeze(shifted, 1);
    const isUpper = (intOf(node, 'upper') ?? 1) === 1;
    const isOut = writer.op(isUpper ? 'Less' : 'Greater', [columns, bound]);
    const zero = writer.op('Cast', [writer.i64(0)], { to: type });
    return writer.op('Where', [isOut, zero, cut]);
  }
}
