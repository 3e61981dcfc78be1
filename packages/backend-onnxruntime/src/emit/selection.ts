import type { GraphBuilder } from '../onnx/graph-builder.js';

const MINUS_INFINITY = Number.NEGATIVE_INFINITY;

/** Groups of blocks per kept key, and blocks per group, from which their bound pays off. */
const GROUPS_PER_KEPT = 2;
const SMALLEST_GROUP = 4;

/** Keys `from` to `to`. */
export interface KeyRange {
  readonly from: number;
  readonly to: number;
}

/** Scores of a range of keys: f32 [rows, to - from], -inf where a key is not valid. */
export interface ScoreRange extends KeyRange {
  readonly scores: string;
}

/** Kept scores f32 [rows, k] and their keys i32 [rows, k], in no particular order. */
export interface Kept {
  readonly scores: string;
  readonly keys: string;
}

export function emitOneLevel(onnx: GraphBuilder, scores: string, k: number): Kept {
  const [values, keys] = onnx.ops('TopK', [scores, onnx.i64([k])], 2, { sorted: 0 });
  return { scores: values as string, keys: onnx.cast(keys as string, 'i32') };
}

interface Blocks {
  readonly size: number;
  /** Number of full blocks. */
  readonly count: number;
  readonly rows: number;
  readonly k: number;
  /** [rows * count, size] */
  readonly scores: string;
  /** i32 [rows, k]: the best blocks, in no particular order. */
  readonly chosen: string;
  /** f32 [rows, 1]: strictly below the k-th best block maximum, a lower bound of the k-th score. */
  readonly bound: string;
  /** [rows, rest]: scores of keys that fill no block. */
  readonly rest: string | undefined;
}

/**
 * Exact selection by blocks: the k largest lie in the k blocks with the largest maxima. With `inOrder`, equal scores
 * at the boundary go to the lower key by the order of the candidates. Without it, the order is ignored, as sorting the
 * blocks takes 6 % of a chunk: ties are detected instead, and the rare chunk with one is selected again in order. The
 * result then has one extra slot, with score -inf.
 */
export function emitTwoLevel(
  onnx: GraphBuilder,
  [main, rest]: readonly ScoreRange[],
  k: number,
  blockSize: number,
  rows: number,
  inOrder: boolean,
): Kept {
  const { scores, to } = main as ScoreRange;
  const count = to / blockSize;
  const inBlocks = onnx.reshape(scores, [rows * count, blockSize]);
  const ofBlocks = onnx.op('ReduceMax', [inBlocks, onnx.i64([1])], { keepdims: 0 });
  const maxima = emitRaised(onnx, onnx.reshape(ofBlocks, [rows, count]), k, rows, count);
  const [best, chosen] = onnx.ops('TopK', [maxima, onnx.i64([k])], 2, { sorted: 0 });
  const blocks: Blocks = {
    size: blockSize,
    count,
    rows,
    k,
    scores: inBlocks,
    chosen: onnx.cast(chosen as string, 'i32'),
    bound: emitJustBelow(onnx, best as string),
    rest: rest?.scores,
  };
  return inOrder ? emitOrdered(onnx, blocks) : emitUnordered(onnx, blocks);
}

/**
 * Block maxima [rows, count], raised to a lower bound of the k-th, which the k best groups of blocks give, so that the
 * engine's heap takes in fewer. The same k are chosen, as the bound lies strictly below the k-th. Choosing 64 blocks
 * for 3,072 rows falls from 26 to 20 ms at 131,072 keys and from 16 to 12 at 32,768; small groups gain nothing.
 */
function emitRaised(onnx: GraphBuilder, maxima: string, k: number, rows: number, count: number): string {
  const size = 2 ** Math.floor(Math.log2(count / (GROUPS_PER_KEPT * k)));
  if (size < SMALLEST_GROUP) return maxima;
  const groups = Math.floor(count / size);
  // A lower bound for some of the maxima holds for all.
  const whole =
    groups * size === count
      ? maxima
      : onnx.op('Slice', [maxima, onnx.i64([0]), onnx.i64([groups * size]), onnx.i64([1])]);
  const inGroups = onnx.reshape(whole, [rows * groups, size]);
  const ofGroups = onnx.op('ReduceMax', [inGroups, onnx.i64([1])], { keepdims: 0 });
  const [best] = onnx.ops('TopK', [onnx.reshape(ofGroups, [rows, groups]), onnx.i64([k])], 2, { sorted: 0 });
  return onnx.op('Max', [maxima, emitJustBelow(onnx, best as string)]);
}

/** Blocks in ascending order: candidates keep the order of their keys, and the engine prefers the lower place. */
function emitOrdered(onnx: GraphBuilder, blocks: Blocks): Kept {
  const [ids] = onnx.ops('TopK', [blocks.chosen, onnx.i64([blocks.k])], 2, { largest: 0, sorted: 1 });
  return emitFromBlocks(onnx, blocks, ids as string, blocks.k);
}

function emitUnordered(onnx: GraphBuilder, blocks: Blocks): Kept {
  const { rows, k } = blocks;
  const minusInfinity = onnx.f32(MINUS_INFINITY);
  const kept = emitFromBlocks(onnx, blocks, blocks.chosen, k + 1);
  const smallest = onnx.op('ReduceMin', [kept.scores, onnx.i64([1])], { keepdims: 1 });
  const isSmallest = onnx.op('Equal', [kept.scores, smallest]);
  // The entry after the k-th equals the k-th, so order decides which one stays. (Not among -inf.)
  const counts = onnx.op('And', [isSmallest, onnx.op('Greater', [smallest, minusInfinity])]);
  const equals = onnx.op('ReduceSum', [onnx.cast(counts, 'i32'), onnx.i64([1])], { keepdims: 0 });
  const most = onnx.op('ReduceMax', [equals], { keepdims: 0 });
  const hasTie = onnx.op('Greater', [most, onnx.i32(1)]);
  const scores = onnx.op('Where', [isSmallest, minusInfinity, kept.scores]);
  const [finalScores, finalKeys] = onnx.branch(
    hasTie,
    [
      { type: 'f32', shape: [rows, k + 1] },
      { type: 'i32', shape: [rows, k + 1] },
    ],
    (inner) => {
      const ordered = emitOrdered(inner, blocks);
      const none = inner.filled(inner.f32(MINUS_INFINITY), [rows, 1]);
      return [
        inner.op('Concat', [ordered.scores, none], { axis: 1 }),
        inner.op('Concat', [ordered.keys, inner.filled(inner.i32(0), [rows, 1])], { axis: 1 }),
      ];
    },
    (inner) => [inner.op('Identity', [scores]), inner.op('Identity', [kept.keys])],
  );
  return { scores: finalScores as string, keys: finalKeys as string };
}

/**
 * The `slots` largest among the elements of the blocks `ids` [rows, k] and the rest. Candidates below the bound are
 * raised to it: the engine's heap then takes in hardly any of them twice, which makes this TopK three times as fast
 * (9.0 against 3.0 ms for 768 rows of 2,048).
 */
function emitFromBlocks(onnx: GraphBuilder, blocks: Blocks, ids: string, slots: number): Kept {
  const { size, count, rows, k, rest } = blocks;
  const ofRow = onnx.op('Range', [onnx.i32(0), onnx.i32(rows * count), onnx.i32(count)]);
  const flatIds = onnx.op('Add', [ids, onnx.reshape(ofRow, [rows, 1])]);
  let candidates = onnx.reshape(onnx.op('Gather', [blocks.scores, flatIds]), [rows, k * size]);
  let blockIds = ids;
  if (rest !== undefined) {
    candidates = onnx.op('Concat', [candidates, rest], { axis: 1 });
    blockIds = onnx.op('Concat', [blockIds, onnx.filled(onnx.i32(count), [rows, 1])], { axis: 1 });
  }
  const raised = onnx.op('Max', [candidates, blocks.bound]);
  const [values, positions] = onnx.ops('TopK', [raised, onnx.i64([slots])], 2, { sorted: 0 });
  const at = onnx.cast(positions as string, 'i32');
  const slot = onnx.op('Div', [at, onnx.i32(size)]);
  const within = onnx.op('Sub', [at, onnx.op('Mul', [slot, onnx.i32(size)])]);
  const firstKey = onnx.op('Mul', [onnx.op('GatherElements', [blockIds, slot], { axis: 1 }), onnx.i32(size)]);
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

/** Orders kept entries by index; entries of -inf go last with index -1. */
export function emitAscending(
  onnx: GraphBuilder,
  values: string,
  positions: string,
  k: number,
  extent: number,
): readonly [values: string, indices: string] {
  const isUnused = onnx.op('Equal', [values, onnx.f32(MINUS_INFINITY)]);
  const keys = onnx.op('Where', [isUnused, onnx.i32(extent), positions]);
  if (k === 1) return [values, onnx.op('Where', [isUnused, onnx.i32(-1), positions])];
  const [sorted, order] = onnx.ops('TopK', [keys, onnx.i64([k])], 2, { largest: 0, sorted: 1 });
  const stillUnused = onnx.op('Equal', [sorted as string, onnx.i32(extent)]);
  return [
    onnx.op('GatherElements', [values, order as string], { axis: -1 }),
    onnx.op('Where', [stillUnused, onnx.i32(-1), sorted as string]),
  ];
}
