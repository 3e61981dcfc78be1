import { bytesPerElement } from '../contract/dtype.js';
import type { GraphAttentionRequest } from '../contract/graph-attention.js';
import type { DeviceLimits } from '../contract/limits.js';
import { sizeOf } from '../contract/shape.js';
import type { PassBytes } from '../operation/define.js';

const sizeIf = (shape: readonly number[] | undefined): number => (shape === undefined ? 0 : sizeOf(shape));

function inputBytes(request: GraphAttentionRequest, boolBytes = 1): number {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim } = request;
  const floats =
    batch * queryHeads * queryLength * headDim + batch * keyHeads * keyLength * (headDim + valueDim);
  return (
    floats * bytesPerElement(request.dtype) +
    4 * (sizeOf(request.graph) + sizeIf(request.bias)) +
    boolBytes * sizeIf(request.keyMask) +
    (request.keyLengths ? 4 * batch : 0)
  );
}

/** (index, score) lists. */
function listBytes({ batch, queryHeads, queryLength, entries, saves }: GraphAttentionRequest): number {
  return saves ? 8 * batch * queryHeads * queryLength * entries : 0;
}

export function forwardBytes(request: GraphAttentionRequest, { boolBytes }: DeviceLimits): PassBytes {
  const { batch, queryHeads, queryLength, valueDim } = request;
  const output = batch * queryHeads * queryLength * valueDim * bytesPerElement(request.dtype);
  const saved = listBytes(request);
  return { inputs: inputBytes(request, boolBytes), output, saved, largest: Math.max(output, saved / 2) };
}

/** The same for the backward pass, which also takes the output's gradient and returns those of the inputs. */
export function backwardBytes(request: GraphAttentionRequest, { boolBytes }: DeviceLimits): PassBytes {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim } = request;
  const element = bytesPerElement(request.dtype);
  const rows = batch * queryHeads * queryLength;
  const keyRows = batch * keyHeads * keyLength;
  return {
    inputs: inputBytes(request, boolBytes) + rows * valueDim * element,
    output: (rows * headDim + keyRows * (headDim + valueDim)) * element + 4 * sizeIf(request.bias),
    saved: listBytes(request),
  };
}

/** Keys and values in f32 beside f16 ones. */
function widenedBytes({
  batch,
  keyHeads,
  keyLength,
  headDim,
  valueDim,
  dtype,
}: GraphAttentionRequest): number {
  return dtype === 'f16' ? 4 * batch * keyHeads * keyLength * (headDim + valueDim) : 0;
}

/** Which entries of a row repeat another one: as many comparisons as pairs of entries, shared as the graph is. */
function repeatBytes({ graph, entries }: GraphAttentionRequest, chunk: number, boolBytes: number): number {
  if (entries < 2) return 0;
  const [batch = 1, heads = 1, queries = 1] = graph;
  const rows = batch * heads * Math.min(queries, chunk);
  return rows * entries * (entries * (4 + boolBytes) + 8);
}

/** Transient bytes of a chunk: the worst of looking for repeats, of gathering keys, and of gathering values. */
export function composedScratch(
  request: GraphAttentionRequest,
  chunk: number,
  { boolBytes = 1 }: DeviceLimits,
): number {
  const { batch, queryHeads, queryLength, headDim, valueDim, entries, graph } = request;
  const rows = batch * queryHeads * chunk;
  const lists = 4 * rows * entries;
  const isShared = graph[2] === 1;
  const listed = 4 * sizeOf(graph) * (isShared ? 1 : chunk / queryLength);
  // A chunk of the graph, and the same with numbers near the keys.
  const ownGraph = isShared ? listed : 2 * listed;
  const hides = request.causal || request.keyLengths || request.keyMask !== undefined;
  const hiding = hides ? 3 * (lists + boolBytes * rows * entries) : 0;
  const keys = lists + 4 * rows * headDim + 4 * rows * entries * headDim + lists;
  const scoring = 4 * lists + boolBytes * rows * entries;
  const values = 3 * lists + 4 * rows * entries * valueDim + 4 * rows * valueDim;
  const earlier = boolBytes * entries * entries + 4 * entries;
  return (
    widenedBytes(request) +
    earlier +
    Math.max(
      ownGraph + Math.max(repeatBytes(request, chunk, boolBytes), hiding + lists),
      keys,
      scoring,
      values,
    )
  );
}

/** The largest single tensor of a chunk: gathered rows, or the comparison of entries. */
export function composedLargest(request: GraphAttentionRequest, chunk: number): number {
  const { batch, queryHeads, headDim, valueDim, entries, graph } = request;
  const gathered = batch * queryHeads * chunk * entries * Math.max(headDim, valueDim);
  const [b = 1, h = 1, q = 1] = graph;
  return 4 * Math.max(gathered, b * h * Math.min(q, chunk) * entries * entries);
}

/** Without in-place writes the chunks are joined at the end, so one result exists twice. */
export function composedJoining(request: GraphAttentionRequest, chunk: number, limits: DeviceLimits): number {
  if (limits.inPlace || chunk >= request.queryLength) return 0;
  const { output, saved } = forwardBytes(request, limits);
  return Math.max(output, saved / 2) + widenedBytes(request);
}

/** Transient bytes of a backward chunk, in addition to the gradients it returns. */
export function composedBackwardScratch(
  request: GraphAttentionRequest,
  chunk: number,
  limits: DeviceLimits,
): number {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim, entries } = request;
  const rows = batch * queryHeads * chunk;
  const keys = 4 * batch * keyHeads * keyLength * headDim;
  const values = 4 * batch * keyHeads * keyLength * valueDim;
  const parts = keys + values;
  const isChunked = chunk < queryLength;
  const ofQueries = 4 * batch * queryHeads * queryLength * headDim;
  const own = 32 * rows * entries + 8 * rows * headDim + 4 * rows * valueDim;
  const gathering = 4 * rows * entries * Math.max(headDim, valueDim);
  const adding = isChunked ? parts + Math.max(keys, values) : parts;
  const running = isChunked ? parts : 0;
  const peak = running + Math.max(own + gathering + parts, own + adding);
  const returned = parts + (isChunked ? 0 : ofQueries);
  const joining = isChunked && !limits.inPlace ? Math.max(ofQueries, 4 * sizeIf(request.bias)) : 0;
  return widenedBytes(request) + Math.max(peak - returned, joining, 0);
}
