import type { AttentionRequest } from '@topk-attention/core';
import type { Engine } from '../engine.js';

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

/** Blocks of two-level selection; 1 where choosing among them would choose nothing. */
export function blockSizeOf(k: number, keys: number): number {
  for (const size of [32, 16]) if (keys >= 2 * k * size) return size;
  return 1;
}

/** Scores of a tile that the engine is fastest with, in bytes. */
function tileBytes({ name }: Engine): number {
  return name === 'tensorflow' ? 2 ** 27 : 2 ** 24;
}

/** Queries of all heads whose scores fill one tile. */
export function forwardChunk(engine: Engine, request: AttentionRequest): number {
  const { batch, queryHeads, queryLength, keyLength } = request;
  const most = tileBytes(engine) / (4 * batch * queryHeads * keyLength);
  return Math.max(1, Math.min(queryLength, Math.floor(most)));
}

export function describeForward(engine: Engine, { k }: AttentionRequest): string {
  if (k === 'all') return 'all keys, in tiles of queries';
  return engine.name === 'tensorflow'
    ? 'two-level selection by nth_element where TensorFlow has it, ended by a loop over candidates'
    : 'selection by a loop over the scores of a tile';
}

/** The scores of a tile. */
export function forwardLargestBytes(request: AttentionRequest, chunk: number): number {
  return 4 * request.batch * request.queryHeads * chunk * request.keyLength;
}

export function forwardScratchBytes(_engine: Engine, request: AttentionRequest, chunk: number): number {
  return 2 * forwardLargestBytes(request, chunk);
}
