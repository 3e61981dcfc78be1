import type { AttentionRequest } from '@topk-attention/core/backend';
import type { Binding } from '../../runtime/binding.js';
import type { ForwardViews } from './forward-path.js';
import { type Part, queryWindow } from './geometry.js';

/** The lists of a part: indices and scores of the kept keys of each row. */
export interface Lists {
  readonly indices: Binding;
  readonly scores: Binding;
  /** Rows of the lists per head. */
  readonly rowsPerHead: number;
}

/** The rows of a part in the caller's lists; undefined where the caller wants none. */
export function savedLists(
  { indices, scores }: ForwardViews,
  request: AttentionRequest,
  part: Part,
): Lists | undefined {
  if (indices === undefined || scores === undefined) return undefined;
  return {
    indices: queryWindow(indices, request, part),
    scores: queryWindow(scores, request, part),
    rowsPerHead: request.queryLength,
  };
}
