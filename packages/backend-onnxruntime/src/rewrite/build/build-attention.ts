import { sizeOf } from '@topk-attention/core';
import type { NodeProto } from '../../onnx/messages.js';
import { type Axes, isFixed, type Length, type Lengths } from '../extents/lengths.js';
import { type AttentionBlock, Refused } from '../find/block.js';
import { emitBestKeys } from './best-keys.js';
import { emitIf } from './branch.js';
import { type ChunkLimits, emitChunk, evenRows, fittingRows } from './chunk.js';
import { emitCopies, emitLoop, MOST_COPIES } from './loop.js';
import { NodeWriter } from './node-writer.js';
import { Replay } from './replay.js';
import { RowSlicer, type Rows } from './row-slicer.js';
import { emitSelected, emitValueRows, type ValueRows } from './selected.js';

/** How blocks are built. */
export interface BuildOptions {
  /** Kept keys of each query; undefined keeps all of them. */
  readonly k: number | undefined;
  /** Keys of the longest input. */
  readonly maxLength: number;
  /** A chunk's rows, and the bytes of its scores and gathered values. */
  readonly limits: ChunkLimits;
  /** Whether keys are selected by TopK alone, without a bound that is found first. */
  readonly isPlain: boolean;
  /** Whether chunks are copies of each other instead of turns of a loop. */
  readonly isUnrolled: boolean;
}

/**
 * A loop over chunks of queries. Each turn cuts its rows out of the queries, repeats the block's own nodes on them with
 * their other operands cut the same way, and multiplies with the values.
 *
 * @param prefix For the names of the new values; no name of the file begins with it.
 * @returns Nodes in place of the block's second product.
 * @throws Refused where chunks are to be copies and lengths are open.
 */
export function buildAttention(
  block: AttentionBlock,
  lengths: Lengths,
  opset: number,
  options: BuildOptions,
  prefix: string,
): readonly NodeProto[] {
  const writer = new NodeWriter(opset, prefix);
  const queries = block.scores.input[0] as string;
  const values = block.product.input[1] as string;
  const axesOf = (name: string): Axes => lengths.axes(block.index.graph, name) as Axes;
  const valueRank = axesOf(values).dims.length;
  const k = keptOf(block, options);
  const valueShape = writer.op('Shape', [values]);
  const keyLength = writer.at(valueShape, valueRank - 2);
  const selection: Selection | undefined =
    k === undefined ? undefined : { k, options, rows: emitValueRows(writer, values, valueRank, keyLength) };
  const turn = (inner: NodeWriter, rows: Rows): string => {
    const slicer = new RowSlicer(block.index, lengths, inner, [block.queryLength, block.keyLength]);
    return emitTurn(inner, block, new Replay(block, slicer, rows), keyLength, selection);
  };
  const output = block.product.output[0] as string;
  const rank = block.valueRank;
  if (options.isUnrolled) {
    const gathered = k === undefined ? 0 : k * (axesOf(values).dims.at(-1) as number);
    emitCopies(writer, { ...staticChunk(block, axesOf(queries), gathered, options), rank, output }, turn);
    return writer.nodes;
  }
  const queryRank = axesOf(queries).dims.length;
  const length = writer.extent(queries, queryRank - 2);
  let rowLength = keyLength;
  if (k !== undefined) {
    const kept = writer.smaller(keyLength, writer.i64(k));
    const gathered = writer.op('Mul', [kept, writer.at(valueShape, valueRank - 1)]);
    rowLength = writer.op('Add', [keyLength, gathered]);
  }
  const chunk = emitChunk(writer, queries, queryRank, length, rowLength, options.limits);
  emitLoop(writer, { chunk, length, rank, type: block.type, output, prefix: `${prefix}b/` }, turn);
  return writer.nodes;
}

/** The k of a block; undefined where there are no more keys than that, whatever the model is given. */
export function keptOf(
  { keyLength }: AttentionBlock,
  { k, maxLength }: Pick<BuildOptions, 'k' | 'maxLength'>,
): number | undefined {
  if (k === undefined || mostOf(keyLength, maxLength) <= k) return undefined;
  return k;
}

function mostOf(length: Length, maxLength: number): number {
  return isFixed(length) ? length.one : maxLength;
}

/** @param gathered Numbers that a turn holds for each row of each head beside the scores. */
function staticChunk(
  { queryLength, keyLength }: AttentionBlock,
  queries: Axes,
  gathered: number,
  { limits }: BuildOptions,
): { readonly length: number; readonly rows: number } {
  if (!isFixed(queryLength) || !isFixed(keyLength)) {
    throw new Refused('unrolled', 'the length is open, so there is no number of chunks; name it in fixed');
  }
  const length = queryLength.one;
  // A batch is counted as one where it is open.
  const lead = queries.dims.slice(0, -2).map((extent, axis) => (queries.again[axis] === extent ? extent : 1));
  const most = fittingRows(limits, 4 * sizeOf(lead) * (keyLength.one + gathered));
  const copies = Math.ceil(length / most);
  if (copies > MOST_COPIES) {
    throw new Refused(
      'unrolled',
      `it would take ${copies} copies, more than ${MOST_COPIES}; raise chunkBytes`,
    );
  }
  return { length, rows: evenRows(length, most) };
}

interface Selection {
  readonly k: number;
  readonly options: BuildOptions;
  readonly rows: ValueRows;
}

/** The rows of the result that belong to a chunk of queries. */
function emitTurn(
  body: NodeWriter,
  block: AttentionBlock,
  replay: Replay,
  keyLength: string,
  selection: Selection | undefined,
): string {
  const scores = replay.scores(body);
  const exact = (on: NodeWriter): string => {
    const weights = replay.weights(on, on.again(block.softmax, [scores]));
    return on.again(block.product, [weights, ...block.product.input.slice(1)]);
  };
  if (selection === undefined) return exact(body);
  const { k, rows, options } = selection;
  const isFixedLength = isFixed(block.keyLength);
  const keys = {
    count: keyLength,
    least: isFixedLength ? block.keyLength.one : k,
    most: mostOf(block.keyLength, options.maxLength),
  };
  const selected = (on: NodeWriter): string => {
    const best = emitBestKeys(on, scores, block.scoreType, block.weightRank, k, keys, options.isPlain);
    return emitSelected(on, replay, block, best, rows);
  };
  if (isFixedLength) return selected(body);
  // With as many keys as k or fewer both are the same function, and the exact one is quicker.
  const isLong = body.op('Greater', [keyLength, body.i64(k)]);
  const made = emitIf(
    body,
    isLong,
    [block.type],
    (on) => [selected(on)],
    (on) => [exact(on)],
  );
  return made[0] as string;
}
