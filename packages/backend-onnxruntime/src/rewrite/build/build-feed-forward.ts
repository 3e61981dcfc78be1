import { dataTypes } from '../../onnx/data-types.js';
import type { NodeProto } from '../../onnx/messages.js';
import type { Axes, Lengths } from '../extents/lengths.js';
import { cutsOf, type FeedForwardBlock } from '../find/find-feed-forward.js';
import { intOf, operatorOf } from '../graph/attributes.js';
import { emitIf } from './branch.js';
import { type ChunkLimits, emitChunk, fittingRows } from './chunk.js';
import { emitCopies, emitLoop, MOST_COPIES } from './loop.js';
import { NodeWriter } from './node-writer.js';
import { emitBestUnits, emitScattered, type Selection } from './selected-units.js';

/** How layers are built. */
export interface FeedForwardOptions {
  /** Kept units of each token; undefined keeps all of them. */
  readonly k: number | undefined;
  /** Undefined: by the activation. */
  readonly select: Selection | undefined;
  readonly limits: ChunkLimits;
  readonly isPlain: boolean;
  readonly isUnrolled: boolean;
}

/** What a layer becomes. */
export interface FeedForwardPlan {
  readonly kept: { readonly k: number; readonly select: Selection } | undefined;
  /** Why all units are kept although k of them were asked for. */
  readonly reason?: string;
}

/** What a node Shape gives for a value between the products: the input's shape with the width of that value. */
export function buildShape(
  { index, input }: FeedForwardBlock,
  node: NodeProto,
  lengths: Lengths,
  opset: number,
  prefix: string,
): readonly NodeProto[] {
  const writer = new NodeWriter(opset, prefix);
  const rank = lengths.axes(index.graph, input)?.dims.length as number;
  const places = Array.from({ length: rank }, (_, axis) => axis);
  const lead = writer.pick(writer.op('Shape', [input]), places.slice(0, -1));
  const width = lengths.axes(index.graph, node.input[0] as string)?.dims.at(-1) as number;
  const wanted = places.slice(intOf(node, 'start') ?? 0, intOf(node, 'end') ?? rank);
  writer.opInto(node.output, 'Gather', [writer.concat([lead, writer.i64([width])]), writer.i64(wanted)], {
    axis: 0,
  });
  return writer.nodes;
}

/** Which units of a layer are kept. */
export function planFeedForward(
  block: FeedForwardBlock,
  lengths: Lengths,
  { k, select }: FeedForwardOptions,
): FeedForwardPlan {
  if (k === undefined) return { kept: undefined };
  if (k >= block.hidden) return { kept: undefined, reason: `it has ${block.hidden} units` };
  const type = lengths.axes(block.index.graph, block.second.input[0] as string)?.type;
  if (type !== dataTypes.float) {
    return { kept: undefined, reason: `its units have element type ${type}, not float32` };
  }
  return { kept: { k, select: select ?? (endsInRelu(block) ? 'signed' : 'magnitude') } };
}

/** Whether the second product takes what a ReLU gives: no unit is below zero then. */
function endsInRelu({ index, second }: FeedForwardBlock): boolean {
  let node = index.producer(second.input[0] as string);
  while (node?.opType === 'Reshape' || node?.opType === 'Identity' || node?.opType === 'Cast')
    node = index.producer(node.input[0] as string);
  return node?.opType === 'Relu';
}

/**
 * A loop over chunks of tokens that repeats the layer's own nodes, so that its wide middle has the rows of a chunk. If all
 * units are kept, the function is the same.
 *
 * @returns Nodes in place of the layer's second product; undefined where chunks are to be copies and the tokens are open.
 */
export function buildFeedForward(
  block: FeedForwardBlock,
  { kept }: FeedForwardPlan,
  lengths: Lengths,
  opset: number,
  options: FeedForwardOptions,
  prefix: string,
): readonly NodeProto[] | undefined {
  const writer = new NodeWriter(opset, prefix);
  const input = lengths.axes(block.index.graph, block.input) as Axes;
  const rank = input.dims.length;
  const shape = writer.op('Shape', [block.input]);
  const width = writer.pick(shape, [rank - 1]);
  const tokens = writer.op('Reshape', [block.input, writer.concat([writer.i64([-1]), width])]);
  const length = writer.extent(tokens, 0);
  const output = block.second.output[0] as string;
  const flat = block.isFlat ? output : writer.name();
  const selected = (body: NodeWriter, units: string): string => {
    if (kept === undefined) return units;
    const best = emitBestUnits(body, units, block.hidden, kept.k, kept.select, options.isPlain);
    return emitScattered(body, units, best);
  };
  const turn = (body: NodeWriter, numbers: string): string => {
    const cut = body.op('Gather', [tokens, numbers], { axis: 0 });
    return emitSecond(body, block, selected(body, emitUnits(body, block, lengths, cut)));
  };
  const { hidden, widest, type } = block;
  // Of the wide values two live at once; with k also their magnitudes, and zeros to put the kept ones into.
  const held = widest + (kept === undefined ? 1 : 3) * hidden;
  const emitTurns = (on: NodeWriter, into: string): void => {
    const chunk = emitChunk(on, tokens, 2, length, on.i64(held), options.limits);
    const plan = { chunk, length, rank: 2, type, output: into, prefix: `${prefix}b/` };
    emitLoop(on, plan, (body, rows) => turn(body, rows.numbers));
  };
  if (options.isUnrolled) {
    const count = staticTokens(input);
    const rows = fittingRows(options.limits, 4 * held);
    if (count === undefined || count > rows * MOST_COPIES) return undefined;
    const plan = { length: count, rows, rank: 2, output: flat };
    emitCopies(writer, plan, (body, { numbers }) => turn(body, numbers));
  } else if (kept !== undefined && 4 * kept.k <= hidden && hasPlainWeights(block, lengths)) {
    const one = (on: NodeWriter): string => {
      const units = emitUnits(on, block, lengths, tokens);
      return emitOneToken(on, block, units, kept, options.isPlain);
    };
    const isOne = writer.op('Equal', [length, writer.i64(1)]);
    const all = (on: NodeWriter): string => {
      const made = on.name();
      emitTurns(on, made);
      return made;
    };
    const [made] = emitIf(
      writer,
      isOne,
      [type],
      (on) => [one(on)],
      (on) => [all(on)],
    );
    writer.opInto([flat], 'Identity', [made as string]);
  } else emitTurns(writer, flat);
  if (!block.isFlat) {
    const lead = writer.pick(
      shape,
      Array.from({ length: rank - 1 }, (_, axis) => axis),
    );
    const last = writer.pick(writer.op('Shape', [flat]), [1]);
    writer.opInto([output], 'Reshape', [flat, writer.concat([lead, last])]);
  }
  return writer.nodes;
}

function staticTokens({ dims, again }: Axes): number | undefined {
  const lead = dims.slice(0, -1);
  const isKnown = lead.every((extent, axis) => extent === again[axis]);
  return isKnown ? lead.reduce((product, extent) => product * extent, 1) : undefined;
}

/** What the second product takes, for some tokens. */
function emitUnits(writer: NodeWriter, block: FeedForwardBlock, lengths: Lengths, tokens: string): string {
  const made = new Map<string, string>();
  for (const node of block.first)
    made.set(node.output[0] as string, writer.again(node, [tokens, ...node.input.slice(1)]));
  for (const node of block.between) {
    const inputs = node.input.map((name) => made.get(name) ?? name);
    const [first, output] = [inputs[0] as string, node.output[0] as string];
    if (node.opType === 'Reshape') made.set(output, first);
    else if (node.opType === 'Split' || node.opType === 'Slice') {
      for (const [at, [start, end]] of (cutsOf(node, block.index, lengths) ?? []).entries()) {
        made.set(node.output[at] as string, writer.part(first, 1, start, end));
      }
    } else made.set(output, writer.again(node, inputs));
  }
  return made.get(block.second.input[0] as string) as string;
}

function emitSecond(writer: NodeWriter, { second }: FeedForwardBlock, units: string): string {
  return writer.again(second, [units, ...second.input.slice(1)]);
}

/** Whether rows of the second product's weights can be taken out: a matrix of one row for each unit. */
function hasPlainWeights({ index, second }: FeedForwardBlock, lengths: Lengths): boolean {
  const isTurned = operatorOf(second) === 'Gemm' && intOf(second, 'transB') === 1;
  return !isTurned && lengths.axes(index.graph, second.input[1] as string)?.dims.length === 2;
}

/** For one token the second product reads the rows of the kept units alone. */
function emitOneToken(
  writer: NodeWriter,
  block: FeedForwardBlock,
  units: string,
  { k, select }: { readonly k: number; readonly select: Selection },
  isPlain: boolean,
): string {
  const { values, places } = emitBestUnits(writer, units, block.hidden, k, select, isPlain);
  const rows = writer.op('Gather', [
    block.second.input[1] as string,
    writer.op('Reshape', [places, writer.i64([-1])]),
  ]);
  return writer.again(block.second, [values, rows, ...block.second.input.slice(2)]);
}
