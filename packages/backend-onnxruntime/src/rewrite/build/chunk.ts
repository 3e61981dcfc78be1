import type { NodeWriter } from './node-writer.js';

/** How many rows a chunk may have. */
export interface ChunkLimits {
  readonly mostRows: number;
  /** Bytes of what a turn holds for its rows. */
  readonly bytes: number;
}

/** @param rowBytes What a turn holds for each row. */
export function fittingRows({ mostRows, bytes }: ChunkLimits, rowBytes: number): number {
  return Math.min(mostRows, Math.max(1, Math.floor(bytes / Math.max(1, rowBytes))));
}

/** The rows of a chunk when all rows are spread evenly over as few chunks as fit. */
export function evenRows(length: number, fitting: number): number {
  return Math.ceil(length / Math.max(1, Math.ceil(length / fitting)));
}

/** How a loop goes over the rows of a value. */
export interface Chunk {
  readonly turns: string;
  /** Rows of a turn, as a number. */
  readonly rows: string;
  /** 0 to the number of rows of a turn. */
  readonly places: string;
}

/**
 * As many rows as the bytes allow, spread evenly over the turns.
 *
 * @param value What has the rows, as its last axis but one: [..., length, width].
 * @param rowLength Numbers that a turn holds for each row of each head.
 */
export function emitChunk(
  writer: NodeWriter,
  value: string,
  rank: number,
  length: string,
  rowLength: string,
  limits: ChunkLimits,
): Chunk {
  const one = writer.i64(1);
  const ofHead = writer.op('Mul', [length, writer.extent(value, rank - 1)]);
  const heads = writer.op('Div', [writer.op('Size', [value]), writer.larger(ofHead, one)]);
  const bytes = writer.op('Mul', [writer.op('Mul', [heads, rowLength]), writer.i64(4)]);
  const fitting = writer.op('Div', [writer.i64(limits.bytes), writer.larger(bytes, one)]);
  const most = writer.larger(writer.smaller(fitting, writer.i64(limits.mostRows)), one);
  const turns = emitQuotientUp(writer, length, most);
  const rows = emitQuotientUp(writer, length, writer.larger(turns, one));
  return { turns, rows, places: writer.range(rows) };
}

function emitQuotientUp(writer: NodeWriter, a: string, b: string): string {
  const raised = writer.op('Sub', [writer.op('Add', [a, b]), writer.i64(1)]);
  return writer.op('Div', [raised, b]);
}

/** From chunks [turns, ..., rows, width] to [..., length, width], under a given name. */
export function emitJoined(
  writer: NodeWriter,
  chunks: string,
  rank: number,
  length: string,
  output: string,
): void {
  const lead = Array.from({ length: rank - 2 }, (_, axis) => axis);
  const turned = writer.op('Transpose', [chunks], {
    perm: [...lead.map((axis) => axis + 1), 0, rank - 1, rank],
  });
  const shape = writer.op('Shape', [turned]);
  const rows = writer.op('Mul', [writer.at(shape, rank - 2), writer.at(shape, rank - 1)]);
  const joined = writer.op('Reshape', [
    turned,
    writer.concat([
      ...(lead.length > 0 ? [writer.pick(shape, lead)] : []),
      writer.list(rows),
      writer.pick(shape, [rank]),
    ]),
  ]);
  if (writer.opset >= 10) {
    const cut = [joined, writer.i64([0]), writer.list(length), writer.i64([rank - 2])];
    writer.opInto([output], 'Slice', cut);
  } else {
    // Until operator set 10 Slice has fixed ends.
    writer.opInto([output], 'Gather', [joined, writer.range(length)], { axis: rank - 2 });
  }
}
