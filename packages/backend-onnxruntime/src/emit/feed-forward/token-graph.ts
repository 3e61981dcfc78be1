import type { ChosenFeedForward } from '@topk-attention/core/backend';
import { type CompiledModel, compileModel } from '../../onnx/compile.js';
import { GraphBuilder, type GraphInput } from '../../onnx/graph-builder.js';
import { emitActivation } from '../activation.js';
import { emitLoudProduct } from '../loud-product.js';
import { emitOneLevel, emitTwoLevel, type Kept } from '../selection.js';

const MINUS_INFINITY = Number.NEGATIVE_INFINITY;

/** Everything the graph of one chunk of tokens depends on. */
export interface FeedForwardVariant {
  readonly request: ChosenFeedForward;
  readonly chunk: number;
  /** True when NaN or overflow could not be excluded: the graph then looks at every hidden unit. */
  readonly isCareful: boolean;
  /** False when wOut holds or may hold NaN or infinities, which must not come in from a unit that is not kept. */
  readonly areOutputsFinite: boolean;
}

export function graphInputs({ request }: FeedForwardVariant): readonly GraphInput[] {
  const { tokens, inputDim, hidden, outputDim } = request;
  const f32 = (name: string, shape: readonly number[]): GraphInput => ({ name, type: 'f32', shape });
  return [
    f32('x', [tokens, inputDim]),
    f32('wIn', [inputDim, hidden]),
    ...(request.biasIn ? [f32('bIn', [hidden])] : []),
    ...(request.gated ? [f32('wGate', [inputDim, hidden])] : []),
    f32('wOut', [hidden, outputDim]),
    ...(request.biasOut ? [f32('bOut', [outputDim])] : []),
    { name: 'start', type: 'i64', shape: [1] },
    { name: 'end', type: 'i64', shape: [1] },
  ];
}

export function keyOf(variant: FeedForwardVariant): string {
  return `feedForward ${JSON.stringify(variant)}`;
}

/** The graph of one chunk: tokens as queries, hidden units as keys and values (paper section 1.9). */
export function compileTokens(variant: FeedForwardVariant): CompiledModel {
  const { request, chunk } = variant;
  const onnx = new GraphBuilder();
  const inputNames = graphInputs(variant).map(({ name, type, shape }) => onnx.input(name, type, shape));
  const x =
    chunk === request.tokens
      ? 'x'
      : onnx.declare(onnx.op('Slice', ['x', 'start', 'end', onnx.i64([0])]), 'f32', [
          chunk,
          request.inputDim,
        ]);
  const product = onnx.op('MatMul', [x, 'wIn']);
  const preactivations = request.biasIn ? onnx.op('Add', [product, 'bIn']) : product;
  let activations = emitActivation(onnx, preactivations, request.activation);
  if (request.gated) activations = onnx.op('Mul', [activations, onnx.op('MatMul', [x, 'wGate'])]);
  const withBias = (result: string): string => (request.biasOut ? onnx.op('Add', [result, 'bOut']) : result);
  const output =
    request.k === 'all'
      ? withBias(onnx.op('MatMul', [activations, 'wOut']))
      : emitTopK(onnx, variant, request.k, preactivations, activations, withBias);
  const outputNames = [onnx.output(output, 'f32', [chunk, request.outputDim])];
  return compileModel(onnx, inputNames, outputNames);
}

function emitTopK(
  onnx: GraphBuilder,
  variant: FeedForwardVariant,
  k: number,
  preactivations: string,
  activations: string,
  withBias: (result: string) => string,
): string {
  const { request, isCareful } = variant;
  let ranking = preactivations;
  if (request.select === 'contribution') {
    const norms = onnx.op('Sqrt', [onnx.op('ReduceSumSquare', ['wOut', onnx.i64([1])], { keepdims: 0 })]);
    ranking = onnx.op('Mul', [onnx.op('Abs', [activations]), norms]);
  }
  let hadNaN: string | undefined;
  if (isCareful) {
    const nan = onnx.op('IsNaN', [ranking]);
    const any = onnx.op('ReduceMax', [onnx.cast(nan, 'i32'), onnx.i64([1])], { keepdims: 1 });
    hadNaN = onnx.op('Greater', [any, onnx.i32(0)]);
    ranking = onnx.op('Where', [nan, onnx.f32(MINUS_INFINITY), ranking]);
  }
  const kept = emitSelection(onnx, variant, ranking, k);
  const product =
    request.second === 'gather'
      ? emitGathered(onnx, variant, activations, kept, k)
      : emitDense(onnx, variant, activations, ranking, kept);
  const result = withBias(product);
  return hadNaN === undefined ? result : onnx.op('Where', [hadNaN, onnx.f32(Number.NaN), result]);
}

function emitSelection(
  onnx: GraphBuilder,
  { request, chunk }: FeedForwardVariant,
  ranking: string,
  k: number,
): Kept {
  const { hidden, selection } = request;
  if (selection.levels === 1 || Math.floor(hidden / selection.blockSize) <= k) {
    return emitOneLevel(onnx, ranking, k);
  }
  const { blockSize } = selection;
  const end = hidden - (hidden % blockSize);
  const range = (from: number, to: number) => ({
    from,
    to,
    scores:
      to - from === hidden
        ? ranking
        : onnx.op('Slice', [ranking, onnx.i64([from]), onnx.i64([to]), onnx.i64([1])]),
  });
  const ranges = end === hidden ? [range(0, hidden)] : [range(0, end), range(end, hidden)];
  return emitTwoLevel(onnx, ranges, k, blockSize, chunk, true);
}

/** Only the kept rows of wOut, [tokens, 1, k] x [tokens, k, Dout]. */
function emitGathered(
  onnx: GraphBuilder,
  { request, chunk, isCareful }: FeedForwardVariant,
  activations: string,
  kept: Kept,
  k: number,
): string {
  let weights = onnx.op('GatherElements', [activations, kept.keys], { axis: 1 });
  let rows = onnx.op('Gather', ['wOut', kept.keys]);
  if (isCareful) {
    const unused = onnx.op('Equal', [kept.scores, onnx.f32(MINUS_INFINITY)]);
    weights = onnx.op('Where', [unused, onnx.f32(0), weights]);
    rows = onnx.op('Where', [onnx.reshape(unused, [chunk, k, 1]), onnx.f32(0), rows]);
  }
  const product = onnx.op('MatMul', [onnx.reshape(weights, [chunk, 1, k]), rows]);
  return onnx.reshape(product, [chunk, request.outputDim]);
}

/**
 * All rows of wOut with the other units at zero. No scatter: with t the k-th score and m the largest kept unit that has
 * it, the kept set is s > t or (s = t and j <= m).
 */
function emitDense(
  onnx: GraphBuilder,
  { request, isCareful, areOutputsFinite }: FeedForwardVariant,
  activations: string,
  ranking: string,
  kept: Kept,
): string {
  const overUnits = { keepdims: 1 };
  const threshold = onnx.op('ReduceMin', [kept.scores, onnx.i64([1])], overUnits);
  const isLast = onnx.op('Equal', [kept.scores, threshold]);
  const tied = onnx.op('Where', [isLast, kept.keys, onnx.i32(-1)]);
  const lastTied = onnx.op('ReduceMax', [tied, onnx.i64([1])], overUnits);
  const units = onnx.op('Range', [onnx.i32(0), onnx.i32(request.hidden), onnx.i32(1)]);
  const isTied = onnx.op('And', [
    onnx.op('Equal', [ranking, threshold]),
    onnx.op('LessOrEqual', [units, lastTied]),
  ]);
  const isKept = onnx.op('Or', [onnx.op('Greater', [ranking, threshold]), isTied]);
  if (!isCareful) {
    // Finite activations: a product with 0 or 1 does what Where does, four times as fast.
    return onnx.op('MatMul', [onnx.op('Mul', [activations, onnx.cast(isKept, 'f32')]), 'wOut']);
  }
  const isReal = onnx.op('And', [isKept, onnx.op('Greater', [ranking, onnx.f32(MINUS_INFINITY)])]);
  const weights = onnx.op('Where', [isReal, activations, onnx.f32(0)]);
  return areOutputsFinite
    ? onnx.op('MatMul', [weights, 'wOut'])
    : emitLoudProduct(onnx, weights, isReal, 'wOut');
}
