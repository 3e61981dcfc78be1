import type { AttentionRequest } from '@topk-attention/core/backend';
import type { Span } from '../../runtime/kernel.js';
import type { ForwardViews } from './forward-path.js';
import { type Geometry, type Part, queryWindow } from './geometry.js';

/** The lists of a part: indices and scores of the kept keys of each row. */
export interface Lists {
  readonly indices: Span;
  readonly scores: Span;
  /** Where their rows lie in these spans. */
  readonly place: NonNullable<Geometry['lists']>;
}

/** The rows of a part in the caller's lists; undefined where the caller wants none. */
export function savedLists(
  { indices, scores }: ForwardViews,
  request: AttentionRequest,
  part: Part,
): Lists | undefined {
  if (indices === undefined || scores === undefined) return undefined;
  const ofIndices = queryWindow(indices, request, part);
  const ofScores = queryWindow(scores, request, part);
  return {
    indices: ofIndices.span,
    scores: ofScores.span,
    place: {
      rowsPerHead: request.queryLength,
      indicesBase: ofIndices.base,
      scoresBase: ofScores.base,
    },
  };
}
