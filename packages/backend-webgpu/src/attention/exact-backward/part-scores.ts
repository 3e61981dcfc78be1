import type { AttentionBackwardInputs, AttentionRequest } from '@topk-attention/core/backend';
import type { DeviceFacts } from '../../runtime/facts.js';
import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import type { View } from '../../runtime/view.js';
import { keyWindow, type Part, queryWindow } from '../shared/geometry.js';
import { optionsOf } from '../shared/options.js';
import { recordScores, scoreOptionsOf, scoreTileRows } from '../shared/scores/record-scores.js';
import { type ScoreOptions, scoreStride } from '../shared/scores/scores-text.js';
import type { PartSize } from './parts.js';
import { fitsPair, recordScorePair } from './score-pairs.js';

/** Scores of a part's queries with all keys that any of them sees, and dP = dO V^T of the same; the caller's scratch. */
export interface PartScores {
  readonly scores: Span;
  readonly products: Span;
}

/**
 * Records both, in one launch where the device binds the buffers of both. The scratch has the size of the largest part's, so
 * that smaller parts get the same buffers from the pool.
 */
export function recordPartScores(
  stream: Stream,
  facts: DeviceFacts,
  request: AttentionRequest,
  inputs: AttentionBackwardInputs<View>,
  relative: Span | undefined,
  part: Part,
  largest: PartSize,
): PartScores {
  const bytes = 4 * largest.heads * largest.queries * scoreStride(request.keyLength);
  const made = { scores: stream.scratch(bytes), products: stream.scratch(bytes) };
  const options = scoreOptionsOf(request);
  const tileRows = scoreTileRows(facts);
  const [q, gradient] = [inputs.q, inputs.dOutput].map((view) => queryWindow(view, request, part)) as Pair;
  const [k, v] = [inputs.k, inputs.v].map((view) => keyWindow(view, request, part)) as Pair;
  const extras = optionsOf(inputs, relative);
  if (tileRows !== undefined && fitsPair(options, facts)) {
    recordScorePair(stream, request, part, options, tileRows, { q, k, gradient, v, ...made, extras });
    return made;
  }
  recordScores(stream, request, part, options, tileRows, { q, k, scores: made.scores, extras });
  const ofValues: ScoreOptions = {
    ...{ ...options, headDim: request.valueDim },
    ...{ mask: false, bias: false, relativeBias: false },
  };
  recordScores(stream, { ...request, scale: 1 }, part, ofValues, tileRows, {
    ...{ q: gradient, k: v, scores: made.products },
    extras: { key_lengths: inputs.keyLengths?.span },
  });
  return made;
}

type Pair = [ReturnType<typeof queryWindow>, ReturnType<typeof queryWindow>];
