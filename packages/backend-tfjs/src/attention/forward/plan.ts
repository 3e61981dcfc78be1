import { type Shape, sizeOf } from '@topk-attention/core';
import { type AttentionRequest, groupSize, scalesExactly } from '@topk-attention/core/backend';
import type { Engine } from '../../engine/engine.js';
import { type TileSizes, tileSizes } from '../tiles.js';

/** Why the fused forward pass cannot take a request. A JavaScript loop makes the final choice among keys. */
export function refusesForward({ name, traits }: Engine, request: AttentionRequest): readonly string[] {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim, dtype, k, dropout } =
    request;
  const extents = [batch, queryHeads, queryLength, keyLength, headDim, valueDim];
  return [
    ...(traits.readsAtOnce ? [] : [`engine ${name}: its results cannot be read synchronously`]),
    ...(dtype === 'f32' ? [] : [`dtype ${dtype}: tfjs computes in f32`]),
    ...(k === 'all' && dropout !== undefined ? ['dropout over all keys: a factor for every score'] : []),
    ...(request.sigmoidShift === undefined ? [] : ['its weights are softmax, not sigmoids']),
    ...(extents.includes(0) ? ['nothing to compute'] : []),
    ...(batch * keyHeads * keyLength < 2 ** 31 ? [] : ['more than 2^31 key rows: row numbers are i32']),
  ];
}

/**
 * Keys per block of two-level selection: eight blocks per kept key where rows are long enough, and 1 where choosing
 * among blocks would exclude next to nothing. Microseconds per row to choose 64 keys with blocks of 1, 16, 32, 64 (2
 * threads): 12.1 and 11.3 at 2,048 keys; 18.2, 10.2 and 11.9 at 4,096; 32.5, 10.9, 11.3 and 13.8 at 8,192; 141, 35.5,
 * 27.2 and 22.6 at 32,768.
 */
export function blockSizeOf(k: number, keys: number): number {
  for (const size of [128, 64, 32]) if (keys >= 8 * k * size) return size;
  return keys >= 2 * k * 16 ? 16 : 1;
}

/** Query chunk whose (query, head) pairs fill one tile. */
export function forwardChunk({ traits }: Engine, request: AttentionRequest): number | undefined {
  const { batch, queryHeads, queryLength, keyLength } = request;
  const { attentionTile: tile } = traits;
  if (tile === undefined) return undefined;
  const rows = Math.max(tile.rows, tile.scoreBytes / (4 * keyLength));
  return Math.max(1, Math.min(queryLength, Math.floor(rows / (batch * queryHeads))));
}

export function describeForward({ traits }: Engine, { k }: AttentionRequest): string {
  if (k === 'all') return 'all keys, in tiles of queries';
  return traits.runsTensorFlowOps
    ? 'two-level selection by nth_element where TensorFlow has it, then a loop over candidates'
    : 'selection by a loop over the scores of a tile';
}

/** The scores of a tile, the candidates in its chosen blocks, or the value rows gathered for it. */
export function forwardLargestBytes(request: AttentionRequest, chunk: number): number {
  const { rows } = tileOf(request, chunk);
  const { k, valueDim, keyLength } = request;
  return 4 * rows * Math.max(keyLength, k === 'all' ? 0 : k * valueDim);
}

/**
 * Peak transient bytes of a tile, in tensors and JavaScript arrays. Inputs that are not ordinary (NaN, infinities)
 * take up to half as much again where keys are masked.
 */
export function forwardScratchBytes(engine: Engine, request: AttentionRequest, chunk: number): number {
  const { keyLength, headDim, valueDim, k, causal, scale, bias, relativeBias, dropout } = request;
  const tile = tileOf(request, chunk);
  const { rows, keyRows } = tile;
  const { readsWithoutCopy, runsTensorFlowOps } = engine.traits;
  const scores = 4 * rows * keyLength;
  const heads = tile.isWhole ? 0 : 4 * keyRows * (headDim + valueDim);
  const window = windowBytes(request, tile);
  const hidden = hiddenElements(engine, request, tile);
  const biases = bias === undefined ? 0 : 4 * broadcastElements(bias, request, tile);
  const isScaledInPlace = k !== 'all' && scale > 0 && bias === undefined && relativeBias === undefined;
  const isScaled = !isScaledInPlace && !scalesExactly(scale);
  const making = Math.max(
    scores + 8 * rows * headDim + (causal ? 4 * keyRows * headDim : 0),
    isScaled ? 2 * scores : 0,
    bias === undefined ? 0 : 2 * scores + biases,
    relativeBias === undefined ? 0 : 2 * scores + scores / tile.batches,
    hidden === 0 ? 0 : Math.max(scores + 15 * hidden, 2 * scores + 6 * hidden),
  );
  const checking = 5 * largestInput(request);
  const result = 8 * rows * valueDim;
  if (k === 'all') {
    const multiplying = 2 * scores + result + (causal ? 4 * keyRows * valueDim : 0);
    return Math.max(checking, heads + window + Math.max(making, multiplying));
  }
  const lists = rows * k * (dropout === undefined ? 12 : 20);
  const selecting = runsTensorFlowOps
    ? selectingBytes(rows, keyLength, k)
    : (readsWithoutCopy ? 1 : 2) * scores + lists + 8 * keyLength;
  const gathering = runsTensorFlowOps
    ? rows * k * (4 * valueDim + 8) + lists + result
    : lists + result + (readsWithoutCopy ? 0 : 4 * keyRows * valueDim);
  return Math.max(checking, heads + window + Math.max(making, selecting, gathering));
}

/** Selection in TensorFlow: the scores (padded to whole blocks), maxima, candidates, and the listed scores. */
function selectingBytes(rows: number, keyLength: number, k: number): number {
  const blockSize = blockSizeOf(k, keyLength);
  const scores = 4 * rows * keyLength * (keyLength % blockSize === 0 ? 1 : 2);
  const maxima = blockSize === 1 ? rows * keyLength : (5 * rows * keyLength) / blockSize;
  const candidates = blockSize === 1 ? 0 : 5 * rows * k * blockSize;
  return scores + maxima + candidates + 40 * rows * k;
}

interface TilePlan extends TileSizes {
  readonly rows: number;
  readonly keyRows: number;
  /** Whether a tile has all heads of all batch entries; keys and values are then not copied. */
  readonly isWhole: boolean;
}

function tileOf(request: AttentionRequest, chunk: number): TilePlan {
  const { batch, queryHeads, keyHeads, keyLength } = request;
  const sizes = tileSizes(request, batch * queryHeads * chunk);
  const { batches, heads, queries } = sizes;
  return {
    ...sizes,
    rows: batches * heads * groupSize(request) * queries,
    keyRows: batches * heads * keyLength,
    isWhole: batches === batch && heads === keyHeads,
  };
}

function windowBytes(request: AttentionRequest, { heads, queries }: TileSizes): number {
  const { relativeBias, queryLength, keyLength } = request;
  if (relativeBias === undefined) return 0;
  const lastQuery = (Math.ceil(queryLength / queries) - 1) * queries;
  return 4 * heads * groupSize(request) * queries * (keyLength + lastQuery);
}

/** Elements of the tensor that hides keys of a tile by adding -inf. */
function hiddenElements({ traits }: Engine, request: AttentionRequest, tile: TileSizes): number {
  const { causal, keyLengths, mask, k } = request;
  const isInScores = k === 'all' || traits.runsTensorFlowOps;
  const shapes: Shape[] = [
    ...(mask === undefined ? [] : [mask]),
    ...(isInScores && causal ? [[1, 1, 2, 2]] : []),
    ...(isInScores && keyLengths ? [[2, 1, 1, 2]] : []),
  ];
  if (shapes.length === 0) return 0;
  const extents = [tile.batches, tile.heads * groupSize(request), tile.queries, request.keyLength];
  return extents.reduce(
    (size, extent, axis) => size * (shapes.every((shape) => shape[axis] === 1) ? 1 : extent),
    1,
  );
}

/** Elements of a mask or bias that belong to a tile. */
function broadcastElements(shape: Shape, request: AttentionRequest, tile: TileSizes): number {
  const extents = [tile.batches, tile.heads * groupSize(request), tile.queries, request.keyLength];
  return extents.reduce((size, extent, axis) => size * (shape[axis] === 1 ? 1 : extent), 1);
}

/** Elements of the largest input that is scanned before the first tile. */
function largestInput(request: AttentionRequest): number {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim, bias } = request;
  return Math.max(
    batch * queryHeads * queryLength * headDim,
    batch * keyHeads * keyLength * Math.max(headDim, valueDim),
    bias === undefined ? 0 : sizeOf(bias) / 5,
  );
}
