import type { AttentionRequest } from '@topk-attention/core/backend';
import type { DeviceFacts } from '../../runtime/facts.js';
import type { Stream } from '../../runtime/stream.js';
import type { ForwardPath, ForwardViews } from '../shared/forward-path.js';
import { geometryOf, keyWindow, queryWindow } from '../shared/geometry.js';
import { savedLists } from '../shared/lists.js';
import { optionsOf } from '../shared/options.js';
import { recordRelativeVectors, relativeBytes } from '../shared/relative-bias.js';
import { recordScores, scoreOptionsOf, scoreTileRows } from '../shared/scores/record-scores.js';
import { scoreStride } from '../shared/scores/scores-text.js';
import { recordKeep } from '../sweeps/keep-kernel.js';
import { sweepsPath } from '../sweeps/sweeps-path.js';
import { TEAM } from '../sweeps/team.js';

/** Scores of the whole call stay below this. */
const SCORE_BYTES = 2 ** 26;
/** Keys whose scores an invocation of a team holds in registers, 48 of them. */
const MOST_KEYS = 48 * TEAM;
/** Kernels are made for multiples of this many keys. */
const KEY_STEP = 8 * TEAM;

/**
 * Short inputs of those that the sweeps take, with the same bits: the scores of the whole call are stored, and a team
 * holds a row of them in registers, finds the k best and multiplies them with their values. Two launches where the
 * sweeps have six.
 */
export const shortPath: ForwardPath = {
  name: 'short',
  refuses,
  preferredChunk: ({ queryLength }) => queryLength,
  scratchBytes: (request) => scoreBytes(request) + relativeBytes(request),
  largestBytes: (request) => Math.max(scoreBytes(request), relativeBytes(request)),
  record: (stream, request, views) => recordShort(stream, request, views),
};

function refuses(request: AttentionRequest, facts: DeviceFacts): readonly string[] {
  const { keyLength, batch, keyHeads, queryLength, headDim, valueDim } = request;
  const reasons = [...sweepsPath.refuses(request, facts)];
  if (reasons.length > 0) return reasons;
  if (keyLength > MOST_KEYS) reasons.push(`${keyLength} keys exceed ${MOST_KEYS}`);
  if (scoreBytes(request) > SCORE_BYTES) reasons.push(`scores of ${scoreBytes(request)} bytes are too many`);
  if (facts.subgroupMinSize !== TEAM || facts.subgroupMaxSize !== TEAM) {
    reasons.push(`it needs subgroups of ${TEAM}`);
  }
  const { bindingBytes } = facts;
  const width = 4 * Math.max(headDim, valueDim, request.saves && request.k !== 'all' ? request.k : 0);
  const rows = batch * Math.max(keyHeads * keyLength, request.queryHeads * queryLength);
  if (rows * width > bindingBytes) reasons.push(`the whole call exceeds a binding of ${bindingBytes} bytes`);
  return reasons;
}

function scoreBytes({ batch, queryHeads, queryLength, keyLength }: AttentionRequest): number {
  return 4 * batch * queryHeads * queryLength * scoreStride(keyLength);
}

/** Records the whole call. */
export function recordShort(
  stream: Stream,
  request: AttentionRequest,
  views: ForwardViews,
  facts: DeviceFacts = stream.facts,
): void {
  const { batch, queryHeads, queryLength, keyLength, valueDim, dtype, causal, keyLengths, dropout } = request;
  const part = { firstHead: 0, heads: batch * queryHeads, firstQuery: 0, queries: queryLength };
  const relative = recordRelativeVectors(stream, request, views.relativeTable);
  const scores = stream.scratch(scoreBytes(request));
  const operands = {
    q: queryWindow(views.q, request, part),
    k: keyWindow(views.k, request, part),
    ...{ scores, extras: optionsOf(views, relative) },
  };
  recordScores(stream, request, part, scoreOptionsOf(request), scoreTileRows(facts), operands);
  recordKeep(
    stream,
    {
      capacity: KEY_STEP * Math.ceil(keyLength / KEY_STEP),
      stored: { causal, keyLengths },
      k: request.k === 'all' ? 0 : request.k,
      ...{ valueDim, dtype, dropout: dropout !== undefined },
      subgroups: facts.subgroupMinSize === TEAM,
    },
    geometryOf(request, part),
    {
      ...{ rows: scores, key_lengths: views.keyLengths?.span },
      v: keyWindow(views.v, request, part),
      out: queryWindow(views.output, request, part),
      saved: savedLists(views, request, part),
    },
  );
  stream.release(scores);
  if (relative !== undefined) stream.release(relative);
  stream.flush();
}
