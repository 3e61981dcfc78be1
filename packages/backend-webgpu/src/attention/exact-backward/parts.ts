import { type AttentionRequest, groupSize } from '@topk-attention/core/backend';
import { splitBytes } from '../../primitives/matmul-cost.js';
import { ALIGNMENT } from '../../runtime/binding.js';
import { type DeviceFacts, isLarge } from '../../runtime/facts.js';
import { bufferSize } from '../../runtime/pool.js';
import { type Part, runsOf } from '../shared/geometry.js';
import { optionRefusals } from '../shared/options.js';
import { relativeBytes } from '../shared/relative-bias.js';
import { scoreStride } from '../shared/scores/scores-text.js';
import { biasGradientBytes } from './bias-gradient.js';
import { tileTogether } from './part-products.js';
import { copiesKeys, copiesQueries } from './row-operands.js';
import { tableGradientBytes } from './table-gradient.js';
import { unusualBytes } from './unusual-lists.js';

/** Sizes of the parts that the work is divided into. The defaults are measured; tests shrink them. */
export interface ExactBackwardTuning {
  /** Scores and products of one part stay below this, provided that those of one query of one group of heads do. */
  readonly partBytes: number;
  /** The same on large devices, where a call would have more than `fewParts` parts otherwise. */
  readonly largePartBytes: number;
  readonly fewParts: number;
  /** Heads are grouped while at least this many queries of each fit. */
  readonly leastQueries: number;
}

export const EXACT_BACKWARD_TUNING: ExactBackwardTuning = {
  partBytes: 2 ** 28,
  largePartBytes: 3 * 2 ** 28,
  fewParts: 4,
  leastQueries: 512,
};

/** Rows of a product are taken in tiles of either: if there are enough queries, a part has a multiple of one. */
const QUERY_STEPS = [128, 64] as const;

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
  tuning: ExactBackwardTuning,
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
      Math.floor(
        bytesOfPart(batch * queryHeads * queryLength * 2 * rowBytes, bindingBytes, tuning) / (2 * rowBytes),
      ),
      Math.max(1, chunk) * batch * queryHeads,
    ),
  );
  const fits = (groups: number, queries: number): boolean =>
    groups * group * queries <= mostRows &&
    groups * scoreStride(keyLength) * width <= limit &&
    groups * group * queryLength * width <= limit;
  const total = (batch * queryHeads) / group;
  const wanted = Math.min(queryLength, tuning.leastQueries);
  let groups = total;
  while (groups > 1 && !fits(groups, wanted)) groups--;
  const fewest = Math.ceil(total / groups);
  // More runs, of fewer heads with more queries each, may make fewer parts, or parts of more equal size. Up to twice as many
  // are tried.
  let best = divideQueries(request, total, fewest, mostRows);
  for (let runs = fewest + 1; runs <= Math.min(2 * fewest, total); runs++) {
    const one = divideQueries(request, total, runs, mostRows);
    if (one.parts < best.parts || (one.parts === best.parts && one.padding < best.padding)) best = one;
  }
  return { heads: best.heads, queries: best.queries };
}

interface DividedQueries extends PartSize {
  /** All of the call. */
  readonly parts: number;
  /** Queries that the last part of a head has less than the others. */
  readonly padding: number;
}

/** Parts of equal size, where heads are in `runs` runs of equal size. */
function divideQueries(
  request: AttentionRequest,
  total: number,
  runs: number,
  mostRows: number,
): DividedQueries {
  const { queryLength } = request;
  const heads = Math.ceil(total / runs) * groupSize(request);
  const most = Math.max(1, Math.min(queryLength, Math.floor(mostRows / heads)));
  const step = most === queryLength ? 1 : (QUERY_STEPS.find((one) => one <= most) ?? most);
  const ofHead = Math.ceil(queryLength / (Math.floor(most / step) * step));
  const queries = step === most ? most : Math.ceil(queryLength / ofHead / step) * step;
  return {
    heads,
    queries,
    parts: Math.ceil(total / Math.ceil(total / runs)) * ofHead,
    padding: ofHead * queries - queryLength,
  };
}

/**
 * Most bytes of the scores and products of a part: a large device makes `fewParts` parts as far as `largePartBytes` allow,
 * because each part takes launches.
 *
 * @param all bytes of all scores and products of the call
 */
function bytesOfPart(
  all: number,
  bindingBytes: number,
  { partBytes, largePartBytes, fewParts }: ExactBackwardTuning,
): number {
  if (!isLarge({ bindingBytes })) return partBytes;
  return Math.max(partBytes, Math.min(largePartBytes, all / fewParts));
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
export function bytesOf(request: AttentionRequest, size: PartSize, facts: DeviceFacts): readonly number[] {
  const { heads, queries } = size;
  const { keyLength, queryLength, headDim, valueDim, dtype, bias, relativeBias } = request;
  const units = heads / groupSize(request);
  const scores = 4 * heads * queries * scoreStride(keyLength);
  const wide = dtype === 'f16';
  const copied = copiesQueries(request, queries);
  const parts = headRunsOf(request, size).flat();
  const dividesSums = parts.some((part) => tileTogether(facts, request, part) === undefined);
  return [
    ...[scores, scores],
    copiesKeys(request) ? 4 * units * scoreStride(keyLength) * headDim : 0,
    copied ? 4 * heads * queries * headDim : 0,
    copied ? 4 * heads * queries * valueDim : 0,
    unusualBytes(parts),
    // f16: sums in f32 until the last part.
    wide ? 4 * heads * queryLength * headDim : 0,
    wide ? 4 * units * keyLength * headDim : 0,
    wide ? 4 * units * keyLength * valueDim : 0,
    relativeBytes(request),
    biasGradientBytes(bias, heads, queries),
    relativeBias === undefined ? 0 : tableGradientBytes(heads, queries, keyLength),
    dividesSums
      ? Math.max(
          splitBytes(units, queries, keyLength, headDim),
          splitBytes(units, keyLength, (heads / units) * queries, Math.max(headDim, valueDim)),
        )
      : 0,
  ].flatMap((bytes) => (bytes === 0 ? [] : [bufferSize(bytes)]));
}
