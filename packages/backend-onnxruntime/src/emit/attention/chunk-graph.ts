import { groupSize } from '@topk-attention/core/backend';
import { type CompiledModel, compileModel } from '../../onnx/compile.js';
import { GraphBuilder } from '../../onnx/graph-builder.js';
import { emitLoudProduct } from '../loud-product.js';
import { emitAscending, emitOneLevel, emitTwoLevel, type Kept, type ScoreRange } from '../selection.js';
import { emitSoftmax } from '../softmax.js';
import { emitScores } from './score-graph.js';
import { type AttentionVariant, blockSizeOf, canMask, graphInputs, scalePlace } from './variant.js';

/** The graph of one query chunk: outputs are the chunk's rows of the result and, if asked for, the kept lists. */
export function compileChunk(variant: AttentionVariant): CompiledModel {
  const onnx = new GraphBuilder();
  const inputNames = graphInputs(variant).map(({ name, type, shape }) => onnx.input(name, type, shape));
  const ranges = emitScores(onnx, variant);
  const outputNames =
    variant.request.k === 'all'
      ? [emitExact(onnx, variant, ranges)]
      : emitTopK(onnx, variant, ranges, variant.request.k);
  return compileModel(onnx, inputNames, outputNames);
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
    const [scores, ordered] = emitAscending(onnx, kept.scores, kept.keys, k, keyLength);
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

/** TopK drops a NaN or returns a wrong set, depending on its place, so NaN is removed and its rows remembered. */
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
  return onnx.op('Where', [emitIsEmpty(onnx, scores), onnx.f32(0), weights]);
}

/** bool [rows, 1]: true for rows of scores [rows, n] without a valid key. */
function emitIsEmpty(onnx: GraphBuilder, scores: string): string {
  const largest = onnx.op('ReduceMax', [scores, onnx.i64([1])], { keepdims: 1 });
  return onnx.op('Equal', [largest, onnx.f32(Number.NEGATIVE_INFINITY)]);
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
  const { request, chunk, isCareful, areValuesFinite } = variant;
  const { batch, queryHeads, keyHeads, keyLength, valueDim } = request;
  const [{ scores }] = ranges as readonly [ScoreRange];
  const folded = [batch * keyHeads, groupSize(request) * chunk, keyLength];
  const whole = isCareful ? emitSoftmax(onnx, scores) : onnx.op('Softmax', [scores], { axis: -1 });
  const weights = onnx.reshape(whole, folded);
  const values = onnx.reshape('v', [batch * keyHeads, keyLength, valueDim]);
  let product: string;
  if (areValuesFinite) {
    product = onnx.op('MatMul', [weights, values]);
  } else {
    const isHidden = onnx.op('Equal', [scores, onnx.f32(Number.NEGATIVE_INFINITY)]);
    product = emitLoudProduct(onnx, weights, onnx.reshape(onnx.op('Not', [isHidden]), folded), values);
  }
  if (!isCareful && canMask(variant)) {
    // Only a row of all -inf can be NaN here, from the softmax, so the scores need not be read again.
    product = onnx.op('Where', [onnx.op('IsNaN', [product]), onnx.f32(0), product]);
  }
  const shape = [batch, queryHeads, chunk, valueDim];
  return onnx.output(onnx.reshape(product, shape), 'f32', shape);
}
