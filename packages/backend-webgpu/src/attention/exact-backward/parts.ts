import { type AttentionRequest, groupSize } from '@topk-attention/core/backend';
import { splitBytes } from '../../primitives/matmul-cost.js';
import { ALIGNMENT } from '../../runtime/binding.js';
import type { DeviceFacts } from '../../runtime/facts.js';
import { bufferSize } from '../../runtime/pool.js';
import { type Part, runsOf } from '../shared/geometry.js';
import { optionRefusals } from '../shared/options.js';
import { relativeBytes } from '../shared/relative-bias.js';
import { scoreStride } from '../shared/scores/scores-text.js';
import { biasGradientBytes } from './bias-gradient.js';
import { copiesKeys, copiesQueries } from './row-operands.js';
import { tableGradientBytes } from './table-gradient.js';
import { unusualBytes } from './unusual-lists.js';

/** Sizes of the parts that the work is divided into. The defaults are measured; tests shrink them. */
export interface ExactBackwardTuning {
  /** Scores and products of one part stay below this, provided that those of one query of one group of heads do. */
  readonly partBytes: number;
  /** Heads are grouped while at least this many queries of each fit. */
  readonly leastQueries: number;
}

export const EXACT_BACKWARD_TUNING: ExactBackwardTuning = { partBytes: 2 ** 28, leastQueries: 512 };

/** Rows of a product are taken in tiles: if there are enough queries, a part has a multiple of this. */
const QUERY_STEP = 64;

export function refusals(request: AttentionRequest, facts: DeviceFacts): string[] {
  const { k, headDim, valueDim, keyLength } = request;
  if (k !== 'all') return [`it needs all keys, not the lists of ${k}`];
  const reasons: string[] = [];
  const limit = facts.bindingBytes - ALIGNMENT;
  const group = groupSize(request);
  const longest = Math.max(group * request.queryLength, scoreStride(keyLength));
  for (const [name, width] of Object.entries({ headDim, valueDim })) {
    if (4 * longest * width > limit) {
      reasons.push(
        `rows of ${name} ${width} of one key head exceed a binding of ${facts.bindingBytes} bytes`,
      );
    }
  }
  if (group * 4 * scoreStride(keyLength) > limit) {
    reasons.push(`scores of one query exceed a binding of ${facts.bindingBytes} bytes`);
  }
  reasons.push(...optionRefusals(request, facts));
  return reasons;
}

/** Heads and queries at a time. */
export interface PartSize {
  readonly heads: number;
  readonly queries: number;
}

/** A smaller chunk means fewer rows in total, from whichever heads. */
export function partSize(
  request: AttentionRequest,
  chunk: number,
  { bindingBytes }: Pick<DeviceFacts, 'bindingBytes'>,
  { partBytes, leastQueries }: ExactBackwardTuning,
): PartSize {
  const { batch, queryHeads, queryLength, keyLength, headDim, valueDim } = request;
  const group = groupSize(request);
  const limit = bindingBytes - ALIGNMENT;
  const rowBytes = 4 * scoreStride(keyLength);
  const width = 4 * Math.max(headDim, valueDim);
  const mostRows = Math.max(
    1,
    Math.min(
      Math.floor(limit / rowBytes),
      Math.floor(partBytes / (2 * rowBytes)),
      Math.max(1, chunk) * batch * queryHeads,
    ),
  );
  const fits = (groups: number, queries: number): boolean =>
    groups * group * queries <= mostRows &&
    groups * scoreStride(keyLength) * width <= limit &&
    groups * group * queryLength * width <= limit;
  const total = (batch * queryHeads) / group;
  const wanted = Math.min(queryLength, leastQueries);
  let groups = total;
  while (groups > 1 && !fits(groups, wanted)) groups--;
  // Groups of roughly equal size.
  groups = Math.ceil(total / Math.ceil(total / groups));
  const most = Math.max(1, Math.min(queryLength, Math.floor(mostRows / (groups * group))));
  if (most < QUERY_STEP || most === queryLength) return { heads: groups * group, queries: most };
  const steps = Math.floor(most / QUERY_STEP);
  const parts = Math.ceil(queryLength / (steps * QUERY_STEP));
  const even = Math.ceil(queryLength / parts / QUERY_STEP) * QUERY_STEP;
  return { heads: groups * group, queries: even };
}

/**
 * Runs of heads, each with its parts from the last queries to the first: the last queries see all keys that any query
 * sees, so the first part writes every gradient of the keys and the others add to them.
 */
export function headRunsOf(
  { batch, queryHeads, queryLength }: AttentionRequest,
  { heads, queries }: PartSize,
): readonly (readonly Part[])[] {
  return runsOf(batch * queryHeads, heads).map((ofHeads) =>
    runsOf(queryLength, queries)
      .map((ofQueries) => ({
        firstHead: ofHeads.first,
        heads: ofHeads.count,
        firstQuery: ofQueries.first,
        queries: ofQueries.count,
      }))
      .reverse(),
  );
}

/** Bytes of the buffers that live while a part runs, the largest first. */
export function bytesOf(request: AttentionRequest, size: PartSize): readonly number[] {
  const { heads, queries } = size;
  const { keyLength, queryLength, headDim, valueDim, dtype, bias, relativeBias } = request;
  const units = heads / groupSize(request);
  const scores = 4 * heads * queries * scoreStride(keyLength);
  const wide = dtype === 'f16';
  const copied = copiesQueries(request, queries);
  return [
    ...[scores, scores],
    copiesKeys(request) ? 4 * units * scoreStride(keyLength) * headDim : 0,
    copied ? 4 * heads * queries * headDim : 0,
    copied ? 4 * heads * queries * valueDim : 0,
    unusualBytes(headRunsOf(request, size).flat()),
    // f16: sums in f32 until the last part.
    wide ? 4 * heads * queryLength * headDim : 0,
    wide ? 4 * units * keyLength * headDim : 0,
    wide ? 4 * units * keyLength * valueDim : 0,
    relativeBytes(request),
    biasGradientBytes(bias, heads, queries),
    relativeBias === undefined ? 0 : tableGradientBytes(heads, queries, keyLength),
    Math.max(
      splitBytes(units, queries, keyLength, headDim),
      splitBytes(units, keyLength, (heads / units) * queries, Math.max(headDim, valueDim)),
    ),
  ].flatMap((bytes) => (bytes === 0 ? [] : [bufferSize(bytes)]));
}
