import type { GraphProto, NodeProto } from '../../onnx/messages.js';
import type { Lengths } from '../extents/lengths.js';
import type { AttentionBlock } from '../find/block.js';
import { emitChunk } from './chunk.js';
import { emitLoop } from './loop.js';
import { innerGraph, NodeWriter, typed } from './node-writer.js';
import { Replay } from './replay.js';
import { RowSlicer } from './row-slicer.js';
import { emitSelected, emitValueRows, type ValueRows } from './selected.js';

/** How blocks are built. */
export interface BuildOptions {
  /** Kept keys of each query; undefined keeps all of them. */
  readonly k: number | undefined;
  /** Bytes of a chunk's scores and gathered values, which decide its number of queries. */
  readonly chunkBytes: number;
}

/**
 * A loop over chunks of queries. Each turn cuts its rows out of the queries, repeats the block's own nodes on them with
 * their other operands cut the same way, and multiplies with the values.
 *
 * @param prefix For the names of the new values; no name of the file begins with it.
 * @returns Nodes in place of the block's second product.
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
  const rankOf = (name: string): number => lengths.axes(block.index.graph, name)?.dims.length as number;
  const valueRank = rankOf(values);
  const length = writer.extent(queries, rankOf(queries) - 2);
  const valueShape = writer.op('Shape', [values]);
  const keyLength = writer.at(valueShape, valueRank - 2);
  const k = options.k !== undefined && !isShort(block, options.k) ? options.k : undefined;
  let rowLength = keyLength;
  if (k !== undefined) {
    const kept = writer.smaller(keyLength, writer.i64(k));
    const gathered = writer.op('Mul', [kept, writer.at(valueShape, valueRank - 1)]);
    rowLength = writer.op('Add', [keyLength, gathered]);
  }
  const chunk = emitChunk(writer, queries, rankOf(queries), length, rowLength, options.chunkBytes);
  const selection =
    k === undefined ? undefined : { k, rows: emitValueRows(writer, values, valueRank, keyLength) };
  const plan = {
    ...{ chunk, length, rank: block.valueRank, type: block.type },
    ...{ output: block.product.output[0] as string, prefix: `${prefix}b/` },
  };
  emitLoop(writer, plan, (body, rows) => {
    const slicer = new RowSlicer(block.index, lengths, body, [block.queryLength, block.keyLength]);
    const replay = new Replay(block, slicer, rows);
    return emitTurn(body, block, replay, keyLength, selection, plan.prefix);
  });
  return writer.nodes;
}

/** Whether the keys are no more than k, whatever the model is given. */
function isShort({ keyLength }: AttentionBlock, k: number): boolean {
  return isFixed(keyLength) && keyLength.one <= k;
}

function isFixed({ one, two }: AttentionBlock['keyLength']): boolean {
  return one === two;
}

/** The rows of the result that belong to a chunk of queries. */
function emitTurn(
  body: NodeWriter,
  block: AttentionBlock,
  replay: Replay,
  keyLength: string,
  selection: { readonly k: number; readonly rows: ValueRows } | undefined,
  prefix: string,
): string {
  const scores = replay.scores(body);
  const exact = (on: NodeWriter): string => {
    const weights = replay.weights(on, on.again(block.softmax, [scores]));
    return on.again(block.product, [weights, ...block.product.input.slice(1)]);
  };
  if (selection === undefined) return exact(body);
  const { k, rows } = selection;
  const selected = (on: NodeWriter): string => emitSelected(on, replay, block, scores, k, rows);
  if (isFixed(block.keyLength)) return selected(body);
  // With as many keys as k or fewer both are the same function, and the exact one is quicker.
  const branch = (name: string, emit: (on: NodeWriter) => string): GraphProto => {
    const inner = new NodeWriter(body.opset, `${prefix}${name}/`);
    const made = emit(inner);
    return innerGraph(name, inner, [], [typed(made, block.type)]);
  };
  return body.op('If', [body.op('Greater', [keyLength, body.i64(k)])], {
    then_branch: { graph: branch('selected', selected) },
    else_branch: { graph: branch('exact', exact) },
  });
}
