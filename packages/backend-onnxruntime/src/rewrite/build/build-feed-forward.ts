import type { NodeProto } from '../../onnx/messages.js';
import type { Lengths } from '../extents/lengths.js';
import type { FeedForwardBlock } from '../find/find-feed-forward.js';
import { intOf } from '../graph/attributes.js';
import { emitChunk } from './chunk.js';
import { emitLoop } from './loop.js';
import { NodeWriter } from './node-writer.js';

/** What a node Shape gives for a value between the products: the input's shape with the width of the middle. */
export function buildShape(
  { index, input, hidden }: FeedForwardBlock,
  node: NodeProto,
  lengths: Lengths,
  opset: number,
  prefix: string,
): readonly NodeProto[] {
  const writer = new NodeWriter(opset, prefix);
  const rank = lengths.axes(index.graph, input)?.dims.length as number;
  const places = Array.from({ length: rank }, (_, axis) => axis);
  const lead = writer.pick(writer.op('Shape', [input]), places.slice(0, -1));
  const wanted = places.slice(intOf(node, 'start') ?? 0, intOf(node, 'end') ?? rank);
  writer.opInto(node.output, 'Gather', [writer.concat([lead, writer.i64([hidden])]), writer.i64(wanted)], {
    axis: 0,
  });
  return writer.nodes;
}

/**
 * A loop over chunks of tokens that repeats the layer's own nodes, so that its wide middle has the rows of a chunk. The
 * function is the same.
 *
 * @returns Nodes in place of the layer's second product.
 */
export function buildFeedForward(
  block: FeedForwardBlock,
  lengths: Lengths,
  opset: number,
  chunkBytes: number,
  prefix: string,
): readonly NodeProto[] {
  const writer = new NodeWriter(opset, prefix);
  const rank = lengths.axes(block.index.graph, block.input)?.dims.length as number;
  const shape = writer.op('Shape', [block.input]);
  const width = writer.pick(shape, [rank - 1]);
  const tokens = writer.op('Reshape', [block.input, writer.concat([writer.i64([-1]), width])]);
  const length = writer.extent(tokens, 0);
  // Two of the wide values live at once.
  const chunk = emitChunk(writer, tokens, 2, length, writer.i64(2 * block.hidden), chunkBytes);
  const output = block.second.output[0] as string;
  const flat = block.isFlat ? output : writer.name();
  emitLoop(
    writer,
    { chunk, length, rank: 2, type: block.type, output: flat, prefix: `${prefix}b/` },
    (body, rows) => {
      const made = new Map<string, string>();
      const cut = body.op('Gather', [tokens, rows.numbers], { axis: 0 });
      const again = (node: NodeProto, input: string): string =>
        body.again(node, [input, ...node.input.slice(1)]);
      for (const node of block.first) made.set(node.output[0] as string, again(node, cut));
      for (const node of block.between) {
        const inputs = node.input.map((name) => made.get(name) ?? name);
        const isSame = node.opType === 'Reshape';
        made.set(node.output[0] as string, isSame ? (inputs[0] as string) : body.again(node, inputs));
      }
      return again(block.second, made.get(block.second.input[0] as string) as string);
    },
  );
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
