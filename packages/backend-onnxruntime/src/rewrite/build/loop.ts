import { dataTypes } from '../../onnx/data-types.js';
import type { ValueInfoProto } from '../../onnx/messages.js';
import { type Chunk, emitJoined } from './chunk.js';
import { innerGraph, NodeWriter, scalar, typed } from './node-writer.js';
import type { Rows } from './row-slicer.js';

/** A loop over the rows of a value. */
export interface LoopPlan {
  readonly chunk: Chunk;
  /** Rows of the whole value, as a number. */
  readonly length: string;
  /** Axes of a turn's result: [..., rows, width]. */
  readonly rank: number;
  /** Element type of the result. */
  readonly type: number;
  /** The name of the whole result. */
  readonly output: string;
  /** For the names of the body's values. */
  readonly prefix: string;
}

/** Each copy takes some 30 nodes, and a model has many blocks. */
export const MOST_COPIES = 1024;

/** Copies of a body for rows whose number is known. */
export interface CopiesPlan {
  readonly length: number;
  /** Rows of a chunk; the last one may have fewer. */
  readonly rows: number;
  readonly rank: number;
  readonly output: string;
}

/** The same without a loop: a copy of the body for every chunk. */
export function emitCopies(
  writer: NodeWriter,
  { length, rows, rank, output }: CopiesPlan,
  body: (writer: NodeWriter, rows: Rows) => string,
): void {
  const parts: string[] = [];
  for (let start = 0; start < length; start += rows) {
    const count = Math.min(rows, length - start);
    const numbers = Array.from({ length: count }, (_, at) => start + at);
    parts.push(body(writer, { numbers: writer.i64(numbers), count: writer.i64([count]) }));
  }
  writer.opInto([output], 'Concat', parts, { axis: rank - 2 });
}

/** Runs a body for every chunk and joins the results. The last chunks repeat the last row where rows do not fill them. */
export function emitLoop(
  writer: NodeWriter,
  { chunk, length, rank, type, output, prefix }: LoopPlan,
  body: (inner: NodeWriter, rows: Rows) => string,
): void {
  const inner = new NodeWriter(writer.opset, prefix);
  const [turn, goesOn] = [`${prefix}turn`, `${prefix}on`];
  const numbers = inner.op('Add', [chunk.places, inner.op('Mul', [turn, chunk.rows])]);
  const last = inner.op('Sub', [length, inner.i64(1)]);
  const result = body(inner, { numbers: inner.smaller(numbers, last), count: inner.list(chunk.rows) });
  const still = inner.op('Identity', [goesOn]);
  // Before operator set 11 a loop carries at least one value.
  const carries = writer.opset < 11 ? [`${prefix}carried`] : [];
  const carried = carries.map((name) => inner.op('Identity', [name]));
  const wholeNumber = (name: string): ValueInfoProto => scalar(name, dataTypes.int64);
  const graph = innerGraph(
    'chunk',
    inner,
    [wholeNumber(turn), scalar(goesOn, dataTypes.bool), ...carries.map(wholeNumber)],
    [scalar(still, dataTypes.bool), ...carried.map(wholeNumber), typed(result, type)],
  );
  const inputs = [chunk.turns, writer.bool(true), ...carries.map(() => writer.i64(0))];
  const chunks = writer.ops('Loop', inputs, carries.length + 1, { body: { graph } }).at(-1) as string;
  emitJoined(writer, chunks, rank, length, output);
}
