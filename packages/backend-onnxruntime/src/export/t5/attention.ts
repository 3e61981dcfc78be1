import type { GraphBuilder } from '../../onnx/graph-builder.js';
import { BATCH, emitLinear, emitNumber, narrowed, type Stack, widened } from './stack.js';

/** Heads [B, H, L, dKv] of a projection of x [B, L, dModel]. */
export function emitHeads(stack: Stack, x: string, weight: string): string {
  return stack.onnx.op('Transpose', [emitSplit(stack, x, weight)], { perm: [0, 2, 1, 3] });
}

/** The same with the last axes swapped, [B, H, dKv, L], as the score product takes keys. */
export function emitKeyColumns(stack: Stack, x: string, weight: string): string {
  return stack.onnx.op('Transpose', [emitSplit(stack, x, weight)], { perm: [0, 2, 3, 1] });
}

/** [B, L, H, dKv] */
function emitSplit(stack: Stack, x: string, weight: string): string {
  const { onnx, config } = stack;
  return onnx.reshape(emitLinear(stack, x, weight), [0, 0, config.heads, config.dKv]);
}

/** [B, L, H * dKv] of [B, H, L, dKv]. */
export function emitMerged({ onnx, config }: Stack, heads: string): string {
  const turned = onnx.op('Transpose', [heads], { perm: [0, 2, 1, 3] });
  return onnx.reshape(turned, [0, 0, config.heads * config.dKv]);
}

/** softmax(scores) V. */
export function emitExact(stack: Stack, scores: string, values: string): string {
  const { onnx } = stack;
  const weights = onnx.op('Softmax', [widened(stack, onnx, scores)], { axis: -1 });
  return onnx.op('MatMul', [narrowed(stack, onnx, weights), values]);
}

/**
 * The same over the k largest scores of each row; of equal scores the engine takes the lower key. Hidden keys, which come
 * last, have weight 0.
 *
 * @param onnx The graph, which may be an inner one.
 * @param scores [B, H, queries, keys]
 * @param values [B, H, keys, dKv]
 * @param k i64 [1], no more than there are keys
 */
export function emitSelected(
  stack: Stack,
  onnx: GraphBuilder,
  scores: string,
  values: string,
  k: string,
): string {
  // No engine has to select among f16: the order is the same.
  const wide = widened(stack, onnx, scores);
  const [best, keys] = onnx.ops('TopK', [wide, k], 2, { axis: -1, sorted: 0 }) as [string, string];
  const weights = narrowed(stack, onnx, onnx.op('Softmax', [best], { axis: -1 }));
  const indices = onnx.op('Unsqueeze', [keys, onnx.i64([-1])]);
  const rows = onnx.op('GatherND', [values, indices], { batch_dims: 2 });
  const product = onnx.op('MatMul', [onnx.op('Unsqueeze', [weights, onnx.i64([-2])]), rows]);
  return onnx.op('Squeeze', [product, onnx.i64([-2])]);
}

/** The smaller of k and an extent i64 [1]. */
export function emitKept(onnx: GraphBuilder, k: number, extent: string): string {
  return onnx.op('Min', [onnx.i64([k]), extent]);
}

/** The most queries of a chunk: more gain no time. */
const MOST_ROWS = 64;

/** How a loop goes over the queries of a sequence. */
export interface Chunks {
  /** i64 [] */
  readonly turns: string;
  /** i64 []: queries of a turn. */
  readonly rows: string;
  /** i64 [1]: keys that each query keeps. */
  readonly kept: string;
}

/** As many queries at once as the bytes allow, spread evenly over the turns. */
export function emitChunks(stack: Stack, length: string, k: number): Chunks {
  const { onnx, config, type, chunkBytes } = stack;
  const [batch, keys] = [onnx.shape([BATCH]), onnx.shape([length])];
  const kept = emitKept(onnx, k, keys);
  // Scores of f16 are there in f32 as well.
  const [ofScore, ofValue] = type === 'f32' ? [4, 4] : [6, 2];
  const ofScores = onnx.op('Mul', [keys, onnx.i64([ofScore * config.heads])]);
  const ofValues = onnx.op('Mul', [kept, onnx.i64([ofValue * config.dKv * config.heads])]);
  const ofRow = onnx.op('Mul', [onnx.op('Add', [ofScores, ofValues]), batch]);
  const fitting = onnx.op('Min', [onnx.op('Div', [onnx.i64([chunkBytes]), ofRow]), onnx.i64([MOST_ROWS])]);
  const turns = emitQuotientUp(onnx, keys, onnx.op('Max', [fitting, onnx.i64([1])]));
  const rows = emitQuotientUp(onnx, keys, turns);
  const [turnCount, rowCount] = [turns, rows].map((list) => onnx.op('Squeeze', [list, onnx.i64([0])]));
  return { turns: turnCount as string, rows: rowCount as string, kept };
}

function emitQuotientUp(onnx: GraphBuilder, a: string, b: string): string {
  return onnx.op('Div', [onnx.op('Sub', [onnx.op('Add', [a, b]), onnx.i64([1])]), b]);
}

/**
 * Attention over the k best keys as a loop over chunks of queries: the scores of one chunk exist at a time.
 *
 * @param terms What is added to the scores of the queries at places i64 [rows].
 * @returns [B, L, H * dKv]
 */
export function emitSelectedInChunks(
  stack: Stack,
  { turns, rows, kept }: Chunks,
  length: string,
  heads: { readonly queries: string; readonly keys: string; readonly values: string },
  terms: (inner: GraphBuilder, places: string) => readonly string[],
): string {
  const { onnx, config, type } = stack;
  const last = onnx.op('Sub', [emitNumber(onnx, length), onnx.i64(1)]);
  const places = onnx.op('Range', [onnx.i64(0), rows, onnx.i64(1)]);
  const result = { type, shape: [BATCH, config.heads, '', config.dKv] };
  const [chunks] = onnx.loop(turns, [], [result], (inner, turn) => {
    // The last chunk repeats the last query where queries do not fill it.
    const wanted = inner.op('Add', [places, inner.op('Mul', [turn, rows])]);
    const own = inner.op('Min', [wanted, last]);
    const queries = inner.op('Gather', [heads.queries, own], { axis: 2 });
    let scores = inner.op('MatMul', [queries, heads.keys]);
    for (const term of terms(inner, own)) scores = inner.op('Add', [scores, term]);
    return [emitSelected(stack, inner, scores, heads.values, kept)];
  }) as [string];
  const turned = onnx.op('Transpose', [chunks], { perm: [1, 0, 3, 2, 4] });
  const joined = onnx.op('Reshape', [
    turned,
    onnx.op('Concat', [onnx.shape([BATCH]), onnx.i64([-1, config.heads * config.dKv])], { axis: 0 }),
  ]);
  return onnx.op('Slice', [joined, onnx.i64([0]), onnx.shape([length]), onnx.i64([1])]);
}
