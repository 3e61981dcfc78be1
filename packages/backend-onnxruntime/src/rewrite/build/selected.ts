import type { AttentionBlock } from '../find/block.js';
import type { NodeWriter } from './node-writer.js';
import type { Replay } from './replay.js';

/** The values as rows of one matrix, and the first row of every head. */
export interface ValueRows {
  /** [heads * keys, width] */
  readonly values: string;
  /** i64 [..., 1, 1] */
  readonly firstRows: string;
}

/** Made once, outside of the loop. Gathering rows of one matrix takes no operator newer than set 1. */
export function emitValueRows(
  writer: NodeWriter,
  values: string,
  rank: number,
  keyLength: string,
): ValueRows {
  const shape = writer.op('Shape', [values]);
  const width = writer.pick(shape, [rank - 1]);
  const rows = writer.op('Reshape', [values, writer.concat([writer.i64([-1]), width])]);
  const count = writer.op('Div', [writer.extent(rows, 0), writer.larger(keyLength, writer.i64(1))]);
  const first = writer.op('Mul', [writer.range(count), keyLength]);
  const lead = Array.from({ length: rank - 2 }, (_, axis) => axis);
  const heads = lead.length > 0 ? [writer.pick(shape, lead)] : [];
  return {
    values: rows,
    firstRows: writer.op('Reshape', [first, writer.concat([...heads, writer.i64([1, 1])])]),
  };
}

/** The chunk's rows of the output from its k best scores; there are at least k keys. */
export function emitSelected(
  writer: NodeWriter,
  replay: Replay,
  block: AttentionBlock,
  [best, keys]: readonly [string, string],
  { values, firstRows }: ValueRows,
): string {
  const weights = replay.weights(writer, writer.op('Softmax', [best], { axis: block.weightRank - 1 }));
  const rows = writer.op('Gather', [values, writer.op('Add', [keys, firstRows])], { axis: 0 });
  const product = writer.op('MatMul', [writer.unsqueeze(weights, block.valueRank - 1), rows]);
  return writer.squeeze(product, block.valueRank - 1);
}
