import { GraphBuilder } from '../onnx/graph-builder.js';
import { encodeModel } from '../onnx/proto.js';
import { emitSoftmax } from '../primitives/reduce.js';
import { ascending } from '../primitives/select.js';
import type { CompiledGraph } from '../runtime/sessions.js';
import { emitScores, type ScoreRange } from './score-graph.js';
import { emitOneLevel, emitTwoLevel, type Kept } from './select-graph.js';
import { type AttentionVariant, blockSizeOf, canMask, graphInputs, scalePlace } from './variant.js';

const LARGEST_F32 = 3.4028234663852886e38;

/** The graph of one query chunk: outputs are the chunk's rows of the result and, if asked for, the kept lists. */
export function compileChunk(variant: AttentionVariant): { model: Uint8Array; graph: CompiledGraph } {
  const onnx = new GraphBuilder();
  const inputNames = graphInputs(variant).map(({ name, type, shape }) => onnx.input(name, type, shape));
  const ranges = emitScores(onnx, variant);
  const outputNames =
    variant.request.k === 'all'
      ? [emitExact(onnx, variant, ranges)]
      : emitTopK(onnx, variant, ranges, variant.request.k);
  return { model: encodeModel(onnx.finish()), graph: { inputNames, outputNames } };
}

function emitTopK(
  onnx: GraphBuilder,
  variant: AttentionVariant,
  ranges: readonly ScoreRange[],
  k: number,
): readonly string[] {
  const { request, chunk, isCareful } = variant;
  const { batch, queryHeads, keyLength, saves, scale, dropout } = request;
  const rows = batch * queryHeads * chunk;
  const { ranges: finite, hadNaN } = isCareful ? emitWithoutNaN(onnx, ranges) : { ranges, hadNaN: undefined };
  // Dropout is keyed by slot, so it needs the slots in order.
  const needsOrder = saves || dropout !== undefined;
  const inBlocks = blockSizeOf(variant) !== undefined;
  let kept = emitSelection(onnx, variant, finite, k, rows, needsOrder);
  const slots = inBlocks && !needsOrder ? k + 1 : k;
  let indices: string | undefined;
  if (needsOrder) {
    const [scores, ordered] = ascending(onnx, kept.scores, kept.keys, k, keyLength);
    indices = ordered;
    // An unused slot reads the first row, with weight 0.
    kept = { scores, keys: onnx.op('Max', [ordered, onnx.i32(0)]) };
  }
  let scores = scalePlace(variant) === 'kept' ? onnx.op('Mul', [kept.scores, onnx.f32(scale)]) : kept.scores;
  if (hadNaN !== undefined) scores = onnx.op('Where', [hadNaN, onnx.f32(Number.NaN), scores]);
  let weights = emitWeights(onnx, variant, scores);
  if (dropout !== undefined) weights = onnx.op('Mul', [weights, 'dropout']);
  const unused = isCareful ? onnx.op('Equal', [kept.scores, onnx.f32(Number.NEGATIVE_INFINITY)]) : undefined;
  const output = emitGatheredProduct(onnx, variant, weights, kept.keys, unused, slots, rows);
  const outputs = [onnx.output(output, 'f32', [batch, queryHeads, chunk, request.valueDim])];
  if (indices === undefined || !saves) return outputs;
  const shape = [batch, queryHeads, chunk, k];
  outputs.push(onnx.output(onnx.reshape(indices, shape), 'i32', shape));
  outputs.push(onnx.output(onnx.reshape(scores, shape), 'f32', shape));
  return outputs;
}

function emitSelection(
  onnx: GraphBuilder,
  variant: AttentionVariant,
  ranges: readonly ScoreRange[],
  k: number,
  rows: number,
  inOrder: boolean,
): Kept {
  const blockSize = blockSizeOf(variant);
  return blockSize === undefined
    ? emitOneLevel(onnx, (ranges[0] as ScoreRange).scores, k)
    : emitTwoLevel(onnx, ranges, k, blockSize, rows, inOrder);
}

/** TopK drops a NaN or returns a wrong set, depending on its place: NaN is taken out, and its rows are remembered. */
function emitWithoutNaN(
  onnx: GraphBuilder,
  ranges: readonly ScoreRange[],
): { ranges: readonly ScoreRange[]; hadNaN: string } {
  const flags: string[] = [];
  const finite = ranges.map((range) => {
    const nan = onnx.op('IsNaN', [range.scores]);
    const any = onnx.op('ReduceMax', [onnx.cast(nan, 'i32'), onnx.i64([1])], { keepdims: 1 });
    flags.push(onnx.op('Greater', [any, onnx.i32(0)]));
    return {
      ...range,
      scores: onnx.op('Where', [nan, onnx.f32(Number.NEGATIVE_INFINITY), range.scores]),
    };
  });
  return { ranges: finite, hadNaN: flags.reduce((a, b) => onnx.op('Or', [a, b])) };
}

/** Softmax of kept scores; a row without any gives zeros. */
function emitWeights(onnx: GraphBuilder, variant: AttentionVariant, scores: string): string {
  if (variant.isCareful) return emitSoftmax(onnx, scores);
  const weights = onnx.op('Softmax', [scores], { axis: -1 });
  if (!canMask(variant)) return weights;
  const largest = onnx.op('ReduceMax', [scores, onnx.i64([1])], { keepdims: 1 });
  const isEmpty = onnx.op('Equal', [largest, onnx.f32(Number.NEGATIVE_INFINITY)]);
  return onnx.op('Where', [isEmpty, onnx.f32(0), weights]);
}

/** [rows, 1, k] x [rows, k, Dv] over the value rows of the kept keys: no other value row is ever read. */
function emitGatheredProduct(
  onnx: GraphBuilder,
  { request, chunk }: AttentionVariant,
  weights: string,
  keys: string,
  unused: string | undefined,
  k: number,
  rows: number,
): string {
  const { batch, queryHeads, keyHeads, keyLength, valueDim } = request;
  const heads = batch * keyHeads;
  let at = keys;
  if (heads > 1) {
    const first = onnx.op('Range', [onnx.i32(0), onnx.i32(heads * keyLength), onnx.i32(keyLength)]);
    at = onnx.op('Add', [onnx.reshape(keys, [heads, (rows / heads) * k]), onnx.reshape(first, [heads, 1])]);
  }
  const table = onnx.reshape('v', [heads * keyLength, valueDim]);
  let values = onnx.op('Gather', [table, onnx.reshape(at, [rows, k])]);
  if (unused !== undefined) {
    values = onnx.op('Where', [onnx.reshape(unused, [rows, k, 1]), onnx.f32(0), values]);
  }
  const product = onnx.op('MatMul', [onnx.reshape(weights, [rows, 1, k]), values]);
  return onnx.reshape(product, [batch, queryHeads, chunk, valueDim]);
}

function emitExact(onnx: GraphBuilder, variant: AttentionVariant, ranges: readonly ScoreRange[]): string {
  const { request, chunk, isCareful } = variant;
  const { batch, queryHeads, keyHeads, keyLength, valueDim } = request;
  const [{ scores }] = ranges as readonly [ScoreRange];
  const folded = [batch * keyHeads, (queryHeads / keyHeads) * chunk, keyLength];
  const shape = [batch, queryHeads, chunk, valueDim];
  const values = onnx.reshape('v', [batch * keyHeads, keyLength, valueDim]);
  let output: string;
  if (isCareful) {
    output = onnx.reshape(
      emitCarefulProduct(onnx, variant, emitSoftmax(onnx, scores), values, folded),
      shape,
    );
  } else {
    const weights = onnx.reshape(onnx.op('Softmax', [scores], { axis: -1 }), folded);
    output = onnx.reshape(onnx.op('MatMul', [weights, values]), shape);
    // Everything is finite, so NaN can only mean a softmax over nothing.
    if (canMask(variant)) output = onnx.op('Where', [onnx.op('IsNaN', [output]), onnx.f32(0), output]);
  }
  return onnx.output(output, 'f32', shape);
}

/** A masked key takes part with weight 0, and 0 * NaN is NaN: such rows are zeroed, and queries that do see one are marked. */
function emitCarefulProduct(
  onnx: GraphBuilder,
  { request }: AttentionVariant,
  weights: string,
  values: string,
  folded: readonly number[],
): string {
  const rows = onnx.reshape(weights, folded);
  const isMasked =
    request.causal || request.keyLengths || request.mask !== undefined || request.bias !== undefined;
  if (!isMasked) return onnx.op('MatMul', [rows, values]);
  const isFinite = onnx.op('LessOrEqual', [onnx.op('Abs', [values]), onnx.f32(LARGEST_F32)]);
  const isBad = onnx.cast(onnx.op('Not', [isFinite]), 'f32');
  const badRows = onnx.op('ReduceMax', [isBad, onnx.i64([2])], { keepdims: 1 });
  const product = onnx.op('MatMul', [rows, onnx.op('Where', [isFinite, values, onnx.f32(0)])]);
  const sees = onnx.op('Greater', [onnx.op('MatMul', [rows, badRows]), onnx.f32(0)]);
  return onnx.op('Where', [sees, onnx.f32(Number.NaN), product]);
}
