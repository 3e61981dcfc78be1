import { type AttentionRequest, type Shape, sizeOf } from '@topk-attention/core';
import type { Engine } from '../engine.js';
import { type TileSizes, tileSizes } from './tiles.js';

/** Engines that compute where they are called, so that a loop in JavaScript can end the choice of keys. */
const engines: ReadonlySet<string> = new Set(['cpu', 'wasm', 'tensorflow']);

export function refusesForward(engine: Engine, request: AttentionRequest): readonly string[] {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim, dtype, k, dropout } =
    request;
  const extents = [batch, queryHeads, queryLength, keyLength, headDim, valueDim];
  return [
    ...(engines.has(engine.name) ? [] : [`engine ${engine.name}: its results cannot be read at once`]),
    ...(dtype === 'f32' ? [] : [`dtype ${dtype}: tfjs computes in f32`]),
    ...(k === 'all' && dropout !== undefined ? ['dropout over all keys: a factor for every score'] : []),
    ...(extents.includes(0) ? ['nothing to compute'] : []),
    ...(batch * keyHeads * keyLength < 2 ** 31 ? [] : ['more than 2^31 key rows: row numbers are i32']),
  ];
}

/**
 * Blocks of two-level selection, with eight of them per kept key where rows are long enough; 1 where choosing among blocks
 * would choose next to nothing. Microseconds per row of the choice of 64 keys with blocks of 1, 16, 32, 64 (2 threads): 12.1
 * and 11.3 at 2,048 keys; 18.2, 10.2 and 11.9 at 4,096; 32.5, 10.9, 11.3 and 13.8 at 8,192; 141, 35.5, 27.2 and 22.6 at
 * 32,768.
 */
export function blockSizeOf(k: number, keys: number): number {
  for (const size of [128, 64, 32]) if (keys >= 8 * k * size) return size;
  return keys >= 2 * k * 16 ? 16 : 1;
}

/**
 * Bytes of the scores of a tile, and rows it has at least. TensorFlow takes arrays above 32 MiB from the system each time,
 * which costs as much as filling them; below some 384 rows, packing the keys costs more than that: 237 us per query in tiles
 * of 768 rows at 8,192 keys against 295 in tiles of 1,536; 792, 698 and 754 in tiles of 192, 384 and 768 at 32,768 keys.
 */
const tileOfEngine: Readonly<Record<string, { readonly bytes: number; readonly rows: number }>> = {
  tensorflow: { bytes: 3e7, rows: 384 },
  wasm: { bytes: 2 ** 23, rows: 64 },
  cpu: { bytes: 2 ** 22, rows: 16 },
};

/** Queries of all heads that fill one tile. */
export function forwardChunk(engine: Engine, request: AttentionRequest): number | undefined {
  const { batch, queryHeads, queryLength, keyLength } = request;
  const limits = tileOfEngine[engine.name];
  if (limits === undefined) return undefined;
  const rows = Math.max(limits.rows, limits.bytes / (4 * keyLength));
  return Math.max(1, Math.min(queryLength, Math.floor(rows / (batch * queryHeads))));
}

export function describeForward(engine: Engine, { k }: AttentionRequest): string {
  if (k === 'all') return 'all keys, in tiles of queries';
  return engine.name === 'tensorflow'
    ? 'two-level selection by nth_element where TensorFlow has it, ended by a loop over candidates'
    : 'selection by a loop over the scores of a tile';
}

/** The scores of a tile, the candidates in its chosen blocks, or the value rows gathered for it. */
export function forwardLargestBytes(request: AttentionRequest, chunk: number): number {
  const { rows } = tileOf(request, chunk);
  const { k, valueDim, keyLength } = request;
  return 4 * rows * Math.max(keyLength, k === 'all' ? 0 : k * valueDim);
}

/**
 * Transient bytes at the worst moment of a tile: tensors, and what lies in JavaScript arrays beside them. Inputs that are
 * not ordinary (NaN, infinities) take up to half as much again where keys are masked.
 */
export function forwardScratchBytes(engine: Engine, request: AttentionRequest, chunk: number): number {
  const { keyLength, headDim, valueDim, k, causal, scale, bias, relativeBias, dropout } = request;
  const tile = tileOf(request, chunk);
  const { rows, keyRows } = tile;
  const isCopied = engine.name !== 'cpu';
  const scores = 4 * rows * keyLength;
  const heads = tile.isWhole ? 0 : 4 * keyRows * (headDim + valueDim);
  const window = windowBytes(request, tile);
  const hidden = hiddenElements(engine, request, tile);
  const biases = bias === undefined ? 0 : 4 * broadcastElements(bias, request, tile);
  const isScaledInPlace = k !== 'all' && scale > 0 && bias === undefined && relativeBias === undefined;
  const isScaled = !isScaledInPlace && !Number.isInteger(Math.log2(Math.abs(scale)));
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
  const selecting =
    engine.name === 'tensorflow'
      ? selectingBytes(rows, keyLength, k)
      : (isCopied ? 2 : 1) * scores + lists + 8 * keyLength;
  const gathering =
    engine.name === 'tensorflow'
      ? rows * k * (4 * valueDim + 8) + lists + result
      : lists + result + (isCopied ? 4 * keyRows * valueDim : 0);
  return Math.max(checking, heads + window + Math.max(making, selecting, gathering));
}

/** In TensorFlow: the scores (padded to whole blocks), maxima, candidates, and what is listed of them. */
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
  /** Whether a tile has all heads of all entries: then keys and values are not copied. */
  readonly isWhole: boolean;
}

function tileOf(request: AttentionRequest, chunk: number): TilePlan {
  const { batch, queryHeads, keyHeads, keyLength } = request;
  const sizes = tileSizes(request, batch * queryHeads * chunk);
  const { batches, heads, queries } = sizes;
  return {
    ...sizes,
    rows: batches * heads * (queryHeads / keyHeads) * queries,
    keyRows: batches * heads * keyLength,
    isWhole: batches === batch && heads === keyHeads,
  };
}

function windowBytes(
  { relativeBias, queryHeads, keyHeads, queryLength, keyLength }: AttentionRequest,
  { heads, queries }: TileSizes,
): number {
  if (relativeBias === undefined) return 0;
  const lastQuery = (Math.ceil(queryLength / queries) - 1) * queries;
  return 4 * heads * (queryHeads / keyHeads) * queries * (keyLength + lastQuery);
}

/** Elements of the tensor that hides keys of a tile by adding -inf. */
function hiddenElements(engine: Engine, request: AttentionRequest, tile: TileSizes): number {
  const { causal, keyLengths, mask, k, queryHeads, keyHeads } = request;
  const isInScores = k === 'all' || engine.name === 'tensorflow';
  const shapes: Shape[] = [
    ...(mask === undefined ? [] : [mask]),
    ...(isInScores && causal ? [[1, 1, 2, 2]] : []),
    ...(isInScores && keyLengths ? [[2, 1, 1, 2]] : []),
  ];
  if (shapes.length === 0) return 0;
  const extents = [tile.batches, tile.heads * (queryHeads / keyHeads), tile.queries, request.keyLength];
  return extents.reduce(
    (size, extent, axis) => size * (shapes.every((shape) => shape[axis] === 1) ? 1 : extent),
    1,
  );
}

/** Elements of a mask or bias that belong to a tile. */
function broadcastElements(shape: Shape, request: AttentionRequest, tile: TileSizes): number {
  const { queryHeads, keyHeads, keyLength } = request;
  const extents = [tile.batches, tile.heads * (queryHeads / keyHeads), tile.queries, keyLength];
  return extents.reduce((size, extent, axis) => size * (shape[axis] === 1 ? 1 : extent), 1);
}

/** Elements of the largest input that is looked through before the first tile. */
function largestInput(request: AttentionRequest): number {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim, bias } = request;
  return Math.max(
    batch * queryHeads * queryLength * headDim,
    batch * keyHeads * keyLength * Math.max(headDim, valueDim),
    bias === undefined ? 0 : sizeOf(bias) / 5,
  );
}
