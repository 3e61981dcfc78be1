import type { GraphBuilder } from '../onnx/graph-builder.js';
import type { ScoreRange } from './score-graph.js';

/** Kept scores f32 [rows, k] and their keys i32 [rows, k], in no particular order. */
export interface Kept {
  readonly scores: string;
  readonly keys: string;
}

export function emitOneLevel(onnx: GraphBuilder, scores: string, k: number): Kept {
  const [values, keys] = onnx.ops('TopK', [scores, onnx.i64([k])], 2, { sorted: 0 });
  return { scores: values as string, keys: onnx.cast(keys as string, 'i32') };
}

/**
 * Exact selection by blocks (design: Decision 5). The k best blocks are put in ascending order, so that candidates
 * keep the order of their keys and equal scores go to the lower one; keys that fill no block are candidates always.
 *
 * The k-th best block maximum is a lower bound of the k-th score. Candidates below it are raised to just under it: the
 * engine's heap then takes in hardly any key twice, which makes the second TopK three times as fast (9.0 to 3.0 ms).
 */
export function emitTwoLevel(
  onnx: GraphBuilder,
  [blocks, rest]: readonly ScoreRange[],
  k: number,
  blockSize: number,
  rows: number,
): Kept {
  const { scores, to } = blocks as ScoreRange;
  const count = to / blockSize;
  const inBlocks = onnx.reshape(scores, [rows * count, blockSize]);
  const maxima = onnx.reshape(onnx.op('ReduceMax', [inBlocks, onnx.i64([1])], { keepdims: 0 }), [
    rows,
    count,
  ]);
  const [best, chosen] = onnx.ops('TopK', [maxima, onnx.i64([k])], 2, { sorted: 0 });
  const [ids] = onnx.ops('TopK', [onnx.cast(chosen as string, 'i32'), onnx.i64([k])], 2, {
    largest: 0,
    sorted: 1,
  });
  const ofRow = onnx.op('Range', [onnx.i32(0), onnx.i32(rows * count), onnx.i32(count)]);
  const flatIds = onnx.op('Add', [ids as string, onnx.reshape(ofRow, [rows, 1])]);
  let candidates = onnx.reshape(onnx.op('Gather', [inBlocks, flatIds]), [rows, k * blockSize]);
  let blockIds = ids as string;
  if (rest !== undefined) {
    candidates = onnx.op('Concat', [candidates, rest.scores], { axis: 1 });
    blockIds = onnx.op('Concat', [blockIds, onnx.filled(onnx.i32(count), [rows, 1])], { axis: 1 });
  }
  const raised = onnx.op('Max', [candidates, emitJustBelow(onnx, best as string)]);
  const [values, positions] = onnx.ops('TopK', [raised, onnx.i64([k])], 2, { sorted: 0 });
  const at = onnx.cast(positions as string, 'i32');
  const slot = onnx.op('Div', [at, onnx.i32(blockSize)]);
  const within = onnx.op('Sub', [at, onnx.op('Mul', [slot, onnx.i32(blockSize)])]);
  const firstKey = onnx.op('Mul', [
    onnx.op('GatherElements', [blockIds, slot], { axis: 1 }),
    onnx.i32(blockSize),
  ]);
  return { scores: values as string, keys: onnx.op('Add', [firstKey, within]) };
}

/** f32 [rows, 1]: a number strictly below the smallest of the best maxima, -inf below -inf. */
function emitJustBelow(onnx: GraphBuilder, best: string): string {
  const smallest = onnx.op('ReduceMin', [best, onnx.i64([1])], { keepdims: 1 });
  const bound = onnx.op('Min', [smallest, onnx.f32(3e38)]);
  // Ten times the spacing of f32 numbers of this size, and enough for those around 0.
  const step = onnx.op('Add', [onnx.op('Mul', [onnx.op('Abs', [bound]), onnx.f32(1e-6)]), onnx.f32(1e-37)]);
  return onnx.op('Sub', [bound, step]);
}
