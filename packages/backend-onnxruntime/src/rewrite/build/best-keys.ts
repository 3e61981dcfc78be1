import { dataTypes } from '../../onnx/data-types.js';
import { emitIf } from './branch.js';
import type { NodeWriter } from './node-writer.js';

/** Keys that a row may have. */
export interface KeyCount {
  /** The number, when the model runs. */
  readonly count: string;
  readonly least: number;
  readonly most: number;
}

/**
 * From so many keys for each kept one on, a bound is found first: the k-th largest of the maxima of 2 k blocks. ONNX
 * Runtime keeps the best of a row in a heap, and most of its time goes into scores that enter it and are pushed out again;
 * with everything below the bound raised to just below it, hardly more than k ever enter.
 */
const BOUNDED_FROM = 16;
/**
 * From so many on, only the blocks with the k largest maxima are looked through, which hold the k best scores. Measured
 * with k of 64: docs/drop-in.md.
 */
const BLOCKS_FROM = 256;
const BLOCK = 64;

/**
 * The k best scores of each row, of which there are at least k, and their keys; the lower key first among equals. In no
 * particular order.
 *
 * @param scores [..., rows, keys]
 * @param type Of the scores. Half-precision ones are selected as single ones, without a loss.
 * @returns [..., rows, k] each; the keys are i64.
 */
export function emitBestKeys(
  writer: NodeWriter,
  scores: string,
  type: number,
  rank: number,
  k: number,
  keys: KeyCount,
  isPlain: boolean,
): readonly [string, string] {
  if (type === dataTypes.float16) {
    const single = writer.op('Cast', [scores], { to: dataTypes.float });
    const [best, places] = emitBestKeys(writer, single, dataTypes.float, rank, k, keys, isPlain);
    return [writer.op('Cast', [best], { to: type }), places];
  }
  const row: Row = { scores, rank, k, keys: keys.count };
  const forms: readonly Form[] = [
    { from: 1, emit: emitTopK },
    ...(isPlain ? [] : [{ from: BOUNDED_FROM * k, emit: emitBounded }]),
    // Entries can be gathered by a list for each row, and pads be computed, from operator set 11 on.
    ...(isPlain || writer.opset < 11 ? [] : [{ from: BLOCKS_FROM * k, emit: emitFromBlocks }]),
  ];
  const first = forms.filter(({ from }) => from <= keys.least).length - 1;
  const possible = forms.filter(({ from }, at) => at === first || (at > first && from <= keys.most));
  return emitForm(writer, row, possible);
}

interface Row {
  readonly scores: string;
  readonly rank: number;
  readonly k: number;
  readonly keys: string;
}

/** A way to select, for rows of so many keys or more. */
interface Form {
  readonly from: number;
  readonly emit: (writer: NodeWriter, row: Row) => readonly [string, string];
}

const TYPES = [dataTypes.float, dataTypes.int64];

function emitForm(writer: NodeWriter, row: Row, forms: readonly Form[]): readonly [string, string] {
  const last = forms.at(-1) as Form;
  if (forms.length === 1) return last.emit(writer, row);
  const isShort = writer.op('Less', [row.keys, writer.i64(last.from)]);
  const made = emitIf(
    writer,
    isShort,
    TYPES,
    (inner) => emitForm(inner, row, forms.slice(0, -1)),
    (inner) => last.emit(inner, row),
  );
  return made as [string, string];
}

function emitTopK(writer: NodeWriter, { scores, k }: Pick<Row, 'scores' | 'k'>): readonly [string, string] {
  const inputs = writer.opset < 10 ? [scores] : [scores, writer.i64([k])];
  const unsorted = writer.opset >= 11 ? { sorted: 0 } : {};
  const attributes = { axis: -1, ...unsorted, ...(writer.opset < 10 && { k }) };
  return writer.ops('TopK', inputs, 2, attributes) as [string, string];
}

function emitBounded(writer: NodeWriter, { scores, rank, k, keys }: Row): readonly [string, string] {
  const blocks = 2 * k;
  const width = writer.op('Div', [keys, writer.i64(blocks)]);
  const length = writer.op('Mul', [width, writer.i64(blocks)]);
  const shape = writer.concat([leadOf(writer, scores, rank), writer.i64([blocks]), writer.list(width)]);
  const maxima = (inner: NodeWriter, part: string): readonly [string] => [
    inner.reduce('ReduceMax', inner.op('Reshape', [part, shape]), rank),
  ];
  // Any part of a row bounds it from below: what does not fill the blocks may be left out. A cut is a copy, by one thread.
  const [ofBlocks] = emitIf(
    writer,
    writer.op('Equal', [length, keys]),
    [dataTypes.float],
    (inner) => maxima(inner, scores),
    (inner) => maxima(inner, inner.slice(scores, rank - 1, inner.list(length))),
  ) as readonly [string];
  const [largest] = emitTopK(writer, { scores: ofBlocks, k });
  return emitTopK(writer, { scores: emitRaised(writer, scores, largest, rank), k });
}

function emitFromBlocks(writer: NodeWriter, row: Row): readonly [string, string] {
  const width = writer.i64(BLOCK);
  const rest = writer.op('Mod', [row.keys, width]);
  const isFull = writer.op('Equal', [rest, writer.i64(0)]);
  const made = emitIf(
    writer,
    isFull,
    TYPES,
    (inner) => emitFromFullBlocks(inner, row),
    (inner) => emitFromFullBlocks(inner, emitPadded(inner, row, rest)),
  );
  return made as [string, string];
}

/** With keys of minus infinity up to the next full block. */
function emitPadded(writer: NodeWriter, row: Row, rest: string): Row {
  const more = writer.op('Sub', [writer.i64(BLOCK), rest]);
  const none = writer.i64(Array<number>(2 * row.rank - 1).fill(0));
  const pads = writer.concat([none, writer.list(more)]);
  const scores = writer.op('Pad', [row.scores, pads, writer.f32(Number.NEGATIVE_INFINITY)]);
  return { ...row, scores, keys: writer.op('Add', [row.keys, more]) };
}

function emitFromFullBlocks(writer: NodeWriter, { scores, rank, k, keys }: Row): readonly [string, string] {
  const width = writer.i64(BLOCK);
  const lead = leadOf(writer, scores, rank);
  const count = writer.op('Div', [keys, width]);
  const inBlocks = writer.op('Reshape', [
    scores,
    writer.concat([lead, writer.list(count), writer.i64([BLOCK])]),
  ]);
  const [largest, best] = emitTopK(writer, { scores: writer.reduce('ReduceMax', inBlocks, rank), k });
  // In order, so that the lower of two places is the lower key.
  const ordered = { axis: -1, largest: 0, sorted: 1 };
  const [blocks] = writer.ops('TopK', [best, writer.i64([k])], 2, ordered) as [string, string];
  const rows = writer.op('Reshape', [scores, writer.i64([-1, BLOCK])]);
  const ofRows = writer.op('Div', [writer.extent(rows, 0), count]);
  const starts = writer.op('Reshape', [
    writer.op('Mul', [writer.range(ofRows), count]),
    writer.concat([lead, writer.i64([1])]),
  ]);
  const gathered = writer.op('Gather', [rows, writer.op('Add', [blocks, starts])], { axis: 0 });
  const candidates = writer.op('Reshape', [gathered, writer.concat([lead, writer.i64([k * BLOCK])])]);
  const [kept, places] = emitTopK(writer, { scores: emitRaised(writer, candidates, largest, rank), k });
  const slots = writer.op('Div', [places, width]);
  const ofSlots = writer.op('GatherElements', [blocks, slots], { axis: rank - 1 });
  const moved = writer.op('Mul', [writer.op('Sub', [ofSlots, slots]), width]);
  return [kept, writer.op('Add', [places, moved])];
}

/**
 * Scores with all those below the smallest of the largest raised to a number just below it. At least k are not, so that the k
 * best are the same ones.
 */
function emitRaised(writer: NodeWriter, scores: string, largest: string, rank: number): string {
  const bound = writer.reduce('ReduceMin', largest, rank - 1, true);
  // Two units in the last place, or a small number: less than the bound also after rounding.
  const gap = writer.op('Mul', [writer.op('Abs', [bound]), writer.f32(2 ** -22)]);
  const below = writer.op('Sub', [bound, writer.op('Add', [gap, writer.f32(1e-30)])]);
  return writer.op('Max', [scores, below]);
}

/** The shape without the last axis. */
function leadOf(writer: NodeWriter, value: string, rank: number): string {
  return writer.pick(
    writer.op('Shape', [value]),
    Array.from({ length: rank - 1 }, (_, axis) => axis),
  );
}
