import type { ChosenFeedForward } from '@topk-attention/core/backend';
import { bufferSize } from '../runtime/pool.js';
import { type FirstProductKind, splitBytes } from './first-product.js';
import { unitListsSizes } from './unit-lists.js';

/** Target size for a buffer of a chunk's hidden units: large enough to fill a GPU, small compared to its memory. */
const WIDE_BYTES = 128 << 20;

/** Tokens of a backward chunk over lists: their rows of x and of the gradient stay in the second-level cache. */
const LIST_TOKENS = 4096;

/** Buffers of a call, in bytes as the pool allocates them. */
export interface Scratch {
  readonly total: number;
  readonly largest: number;
}

function scratchOf(sizes: readonly number[]): Scratch {
  const rounded = sizes.filter((size) => size > 0).map(bufferSize);
  return { total: rounded.reduce((a, b) => a + b, 0), largest: Math.max(0, ...rounded) };
}

/** Tokens that run at a time: within what the caller allows, what is worth holding and what fits a binding. */
function chunkWithin(request: ChosenFeedForward, chunk: number, cap: number): number {
  const most = Math.max(1, Math.min(chunk, cap, request.tokens));
  // Whole tiles of 128 rows; an even number for f16, whose words hold two elements.
  if (most >= 128) return most === request.tokens ? most : Math.floor(most / 128) * 128;
  return request.dtype === 'f16' ? Math.min(most + (most % 2), request.tokens) : most;
}

/** Tokens of a forward chunk. Split rows of x count as part of what is worth holding. */
export function forwardChunk(
  request: ChosenFeedForward,
  chunk: number,
  bindingBytes: number,
  kind: FirstProductKind = 'plain',
): number {
  const { hidden, inputDim } = request;
  const bound = Math.floor(Math.min(WIDE_BYTES, bindingBytes) / (4 * hidden));
  const held = Math.floor((1.0625 * WIDE_BYTES) / (4 * (hidden + inputDim)));
  return chunkWithin(request, chunk, kind === 'split' ? Math.min(bound, held) : bound);
}

/** Weights as f32: copies of halves, or their gradients. */
function weightSizes(request: ChosenFeedForward): number[] {
  const { dtype, inputDim, hidden, outputDim, gated, biasIn, biasOut } = request;
  if (dtype === 'f32') return [];
  const wIn = 4 * inputDim * hidden;
  return [wIn, gated ? wIn : 0, 4 * hidden * outputDim, biasIn ? 4 * hidden : 0, biasOut ? 4 * outputDim : 0];
}

/** Buffers of a forward chunk; `sumsBytes` are those of partial sums where all units are kept. */
export function forwardScratch(
  request: ChosenFeedForward,
  tokens: number,
  kind: FirstProductKind = 'plain',
  sumsBytes = 0,
): Scratch {
  const { dtype, hidden, inputDim, outputDim, k, gated, select, second, saves } = request;
  const wide = 4 * tokens * hidden;
  const isHalf = dtype === 'f16';
  const rows = isHalf ? [4 * tokens * inputDim, 4 * tokens * outputDim] : [];
  const split = kind === 'split' ? splitBytes(request, tokens) : [];
  const all = [...weightSizes(request), ...rows, ...split, wide, gated ? wide : 0];
  if (k === 'all') return scratchOf([...all, sumsBytes]);
  const list = 4 * tokens * k;
  return scratchOf([
    ...all,
    saves === true ? 0 : list,
    list,
    4 * tokens,
    select === 'contribution' ? 4 * hidden : 0,
    second === 'dense' ? 4 * (hidden + 1) : 0,
  ]);
}

/** Tokens of a backward chunk. */
export function backwardChunk(request: ChosenFeedForward, chunk: number, bindingBytes: number): number {
  const { hidden, k, second } = request;
  const wide = Math.min(WIDE_BYTES, bindingBytes);
  if (k === 'all' || second === 'dense') {
    return chunkWithin(request, chunk, Math.floor(wide / (4 * hidden)));
  }
  return chunkWithin(request, chunk, Math.min(LIST_TOKENS, Math.floor(wide / (4 * (k + 1)))));
}

export function backwardScratch(request: ChosenFeedForward, tokens: number): Scratch {
  const { dtype, hidden, inputDim, outputDim, k, gated, second } = request;
  const isHalf = dtype === 'f16';
  const wIn = 4 * inputDim * hidden;
  const x = 4 * tokens * inputDim;
  const rows = isHalf ? [x, x, 4 * tokens * outputDim] : [];
  const shared = [...weightSizes(request), ...weightSizes(request), ...rows];
  const wide = 4 * tokens * hidden;
  if (k === 'all') return scratchOf([...shared, wide, wide, gated ? wide : 0]);
  const list = 4 * tokens * k;
  const lists = [list, list, gated ? list : 0];
  if (second === 'dense') {
    const finite = gated ? [wIn, 4, wIn, 4] : [wIn, 4];
    return scratchOf([...shared, ...lists, wide, ...finite]);
  }
  const turned = [wIn, wIn, ...(gated ? [wIn, wIn] : [])];
  const values = gated ? 3 : 2;
  const sorting = unitListsSizes({ tokens, k, hidden }, values);
  return scratchOf([...shared, ...lists, 4 * tokens, ...turned, ...sorting]);
}
