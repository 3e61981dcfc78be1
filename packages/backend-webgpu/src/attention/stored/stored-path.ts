import { bytesPerElement } from '@topk-attention/core';
import { type AttentionRequest, groupSize } from '@topk-attention/core/backend';
import { ALIGNMENT, wholeOf } from '../../runtime/binding.js';
import type { DeviceFacts } from '../../runtime/facts.js';
import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { hasFewRows } from '../few-rows/few-rows.js';
import { recordFewScores } from '../few-rows/scores-kernel.js';
import type { ForwardPath, ForwardViews } from '../shared/forward-path.js';
import { geometryOf, keyWindow, type Part, partsOf, queryWindow, visibleKeys } from '../shared/geometry.js';
import { type Lists, savedLists } from '../shared/lists.js';
import { optionRefusals, optionsOf } from '../shared/options.js';
import { recordRelativeVectors, relativeBytes } from '../shared/relative-bias.js';
import type { TileRows } from '../shared/scores/product.js';
import { recordScores, scoreOptionsOf, scoreTileRows } from '../shared/scores/record-scores.js';
import { scoreStride } from '../shared/scores/scores-text.js';
import { recordCombine } from './combine-kernel.js';
import { recordSelect, segmentListBytes } from './select-kernel.js';

/** Scores and lists of one part of the work stay below this, provided that those of one group of heads do. */
const PART_BYTES = 2 ** 26;
/**
 * The fallback for every k, every option and every head dim, and the fastest for few queries: scores of a chunk of
 * queries in scratch, an exact selection per row (few long rows in segments first), then softmax and the weighted sum.
 * Except for few queries, equal scores have equal bits in every path of this package that does not rescore, so this path
 * also serves as the reference for the others.
 */
export const storedPath: ForwardPath = {
  name: 'stored',
  refuses,
  scratchBytes: (request, chunk, facts) => {
    const { heads, queries } = partSize(request, chunk, facts.bindingBytes);
    const selected = segmentListBytes(heads * queries, request.keyLength, slots(request));
    return partBytes(request, heads, queries) + selected + relativeBytes(request);
  },
  largestBytes: (request, chunk, facts) => {
    const { heads, queries } = partSize(request, chunk, facts.bindingBytes);
    return 4 * heads * queries * Math.max(scoreStride(request.keyLength), slots(request));
  },
  record: (stream, request, views, chunk) => recordStored(stream, request, views, chunk, stream.facts),
};

function slots({ k }: AttentionRequest): number {
  return k === 'all' ? 0 : k;
}

function refuses(request: AttentionRequest, facts: DeviceFacts): readonly string[] {
  const { k, dtype, headDim, valueDim, keyLength } = request;
  const reasons: string[] = [];
  if (k === 'all') reasons.push('it keeps k keys, not all of them');
  if (dtype === 'f16' && valueDim % 2 === 1)
    reasons.push(`f16 value rows of odd length ${valueDim} share words`);
  const element = bytesPerElement(dtype);
  for (const [name, width] of Object.entries({ headDim, valueDim })) {
    if (groupBytes(request, width * element) > facts.bindingBytes - ALIGNMENT) {
      reasons.push(`${keyLength} rows of ${name} ${width} exceed a binding of ${facts.bindingBytes} bytes`);
    }
  }
  reasons.push(...optionRefusals(request, facts));
  return reasons;
}

/** The largest binding that a group of heads and one query need, for rows of that many bytes. */
function groupBytes(request: AttentionRequest, rowBytes: number): number {
  const queries = ((groupSize(request) - 1) * request.queryLength + 1) * rowBytes;
  return Math.max(request.keyLength * rowBytes, queries);
}

/** Bytes of scores, and of lists where the caller does not want them. */
function partBytes(request: AttentionRequest, heads: number, queries: number): number {
  const list = request.saves ? 0 : 2 * slots(request);
  return 4 * heads * queries * (scoreStride(request.keyLength) + list);
}

/** Heads and queries at a time: every binding below the limit, scratch close to the wanted size. */
function partSize(
  request: AttentionRequest,
  chunk: number,
  bindingBytes: number,
): { readonly heads: number; readonly queries: number } {
  const { batch, queryHeads, queryLength, keyLength, headDim, valueDim } = request;
  const group = groupSize(request);
  const limit = bindingBytes - ALIGNMENT;
  const scoreBytes = 4 * Math.max(scoreStride(keyLength), slots(request));
  const queries = Math.max(1, Math.min(chunk, queryLength, Math.floor(limit / (group * scoreBytes))));
  const rowBytes = Math.max(headDim, valueDim) * bytesPerElement(request.dtype);
  const listBytes = request.saves ? 4 * slots(request) : 0;
  const fits = (groups: number): boolean =>
    groups * group * queries * scoreBytes <= limit &&
    groups * keyLength * rowBytes <= limit &&
    ((groups * group - 1) * queryLength + queries) * Math.max(rowBytes, listBytes) <= limit &&
    partBytes(request, groups * group, queries) <= PART_BYTES;
  const total = (batch * queryHeads) / group;
  let groups = total;
  while (groups > 1 && !fits(groups)) groups = Math.ceil(groups / 2);
  return { heads: groups * group, queries };
}

/** Records the whole call for a device of these facts. */
export function recordStored(
  stream: Stream,
  request: AttentionRequest,
  views: ForwardViews,
  chunk: number,
  facts: DeviceFacts,
): void {
  const { heads, queries } = partSize(request, chunk, facts.bindingBytes);
  const tileRows = scoreTileRows(facts);
  const relative = recordRelativeVectors(stream, request, views.relativeTable);
  for (const part of partsOf(request, heads, queries)) {
    recordPart(stream, request, views, part, relative, tileRows);
    stream.flush();
  }
  if (relative !== undefined) stream.release(relative);
}

/** Where the lists of a part go: into the caller's tensors, or into scratch. */
function listsOf(
  stream: Stream,
  request: AttentionRequest,
  views: ForwardViews,
  part: Part,
): Lists & { release(): void } {
  const saved = savedLists(views, request, part);
  if (saved !== undefined) return { ...saved, release: () => {} };
  const bytes = 4 * part.heads * part.queries * slots(request);
  const indices = stream.scratch(bytes);
  const scores = stream.scratch(bytes);
  return {
    indices: wholeOf(indices),
    scores: wholeOf(scores),
    rowsPerHead: part.queries,
    release: () => {
      stream.release(indices);
      stream.release(scores);
    },
  };
}

function recordPart(
  stream: Stream,
  request: AttentionRequest,
  views: ForwardViews,
  part: Part,
  relative: Span | undefined,
  tileRows: TileRows | undefined,
): void {
  const { valueDim, dtype, causal, keyLengths, keyLength } = request;
  const stride = scoreStride(keyLength);
  const scores = stream.scratch(4 * part.heads * part.queries * stride);
  const lists = listsOf(stream, request, views, part);
  const geometry = geometryOf(request, part);
  const k = slots(request);
  if (visibleKeys(request, part) > 0) {
    const operands = {
      q: queryWindow(views.q, request, part),
      k: keyWindow(views.k, request, part),
      scores,
      extras: optionsOf(views, relative),
    };
    const options = scoreOptionsOf(request);
    if (hasFewRows(request)) recordFewScores(stream, request, part, options, stride, operands);
    else recordScores(stream, request, part, options, tileRows, operands);
  }
  const selected = { scores, lists, keyLengths: views.keyLengths?.span };
  recordSelect(stream, { causal, keyLengths }, geometry, { k, stride }, selected);
  stream.release(scores);
  recordCombine(stream, { valueDim, dtype, dropout: request.dropout !== undefined }, geometry, k, {
    lists,
    v: keyWindow(views.v, request, part),
    out: queryWindow(views.output, request, part),
  });
  lists.release();
}
