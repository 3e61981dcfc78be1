import type { AttentionRequest } from '@topk-attention/core/backend';
import type { DeviceFacts } from '../../runtime/facts.js';
import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import type { ForwardPath, ForwardViews } from '../shared/forward-path.js';
import { geometryOf, keyWindow, type Part, partsOf, queryWindow } from '../shared/geometry.js';
import { savedLists } from '../shared/lists.js';
import { optionsOf } from '../shared/options.js';
import { recordRelativeVectors, relativeBytes } from '../shared/relative-bias.js';
import { recordScores, scoreOptionsOf, scoreTileRows } from '../shared/scores/record-scores.js';
import { scoreStride } from '../shared/scores/scores-text.js';
import { recordKeep } from '../sweeps/keep-kernel.js';
import { sweepsPath } from '../sweeps/sweeps-path.js';
import { TEAM } from '../sweeps/team.js';

/** Scores of a whole call stay below this. */
const SCORE_BYTES = 2 ** 26;
/** Keys whose scores an invocation of a team holds in registers, 48 of them. */
const MOST_KEYS = 48 * TEAM;
/** Kernels are made for multiples of this many keys. */
const KEY_STEP = 8 * TEAM;

/**
 * Short inputs of those that the sweeps take, with the same bits: the scores of a chunk are stored, of the whole call
 * unless the caller wants less, and a team holds a row of them in registers, finds the k best and multiplies them with
 * their values. Two launches where the sweeps have six.
 */
export const shortPath: ForwardPath = {
  name: 'short',
  refuses,
  preferredChunk: ({ queryLength }) => queryLength,
  scratchBytes: (request, chunk) => scoreBytes(request, chunk) + relativeBytes(request),
  largestBytes: (request, chunk) => Math.max(scoreBytes(request, chunk), relativeBytes(request)),
  record: (stream, request, views, chunk) => recordShort(stream, request, views, chunk, stream.facts),
};

function refuses(request: AttentionRequest, facts: DeviceFacts): readonly string[] {
  const { keyLength, batch, keyHeads, queryLength, headDim, valueDim } = request;
  const reasons = [...sweepsPath.refuses(request, facts)];
  if (reasons.length > 0) return reasons;
  if (keyLength > MOST_KEYS) reasons.push(`${keyLength} keys exceed ${MOST_KEYS}`);
  const whole = scoreBytes(request, queryLength);
  if (whole > SCORE_BYTES) reasons.push(`scores of ${whole} bytes are too many`);
  if (facts.subgroupMinSize !== TEAM || facts.subgroupMaxSize !== TEAM) {
    reasons.push(`it needs subgroups of ${TEAM}`);
  }
  const { bindingBytes } = facts;
  const width = 4 * Math.max(headDim, valueDim, request.saves && request.k !== 'all' ? request.k : 0);
  const rows = batch * Math.max(keyHeads * keyLength, request.queryHeads * queryLength);
  if (rows * width > bindingBytes) reasons.push(`the whole call exceeds a binding of ${bindingBytes} bytes`);
  return reasons;
}

function scoreBytes({ batch, queryHeads, queryLength, keyLength }: AttentionRequest, chunk: number): number {
  return 4 * batch * queryHeads * Math.min(chunk, queryLength) * scoreStride(keyLength);
}

/** Records the whole call for a device of these facts. */
export function recordShort(
  stream: Stream,
  request: AttentionRequest,
  views: ForwardViews,
  chunk: number,
  facts: DeviceFacts,
): void {
  const { batch, queryHeads } = request;
  const relative = recordRelativeVectors(stream, request, views.relativeTable);
  for (const part of partsOf(request, batch * queryHeads, chunk)) {
    recordPart(stream, request, views, part, relative, facts);
    stream.flush();
  }
  if (relative !== undefined) stream.release(relative);
}

function recordPart(
  stream: Stream,
  request: AttentionRequest,
  views: ForwardViews,
  part: Part,
  relative: Span | undefined,
  facts: DeviceFacts,
): void {
  const { keyLength, valueDim, dtype, causal, keyLengths, dropout } = request;
  const scores = stream.scratch(scoreBytes(request, part.queries));
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
}
