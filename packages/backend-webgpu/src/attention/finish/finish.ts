import type { AttentionRequest } from '@topk-attention/core';
import type { DeviceFacts } from '../../runtime/facts.js';
import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import type { ForwardViews } from '../forward-path.js';
import type { Candidates, RowBlock } from './candidates.js';

/** Reasons why `recordFinish` does not take a request; pure and cheap. */
export function refusesFinish(_request: AttentionRequest, _facts: DeviceFacts): readonly string[] {
  throw new Error('to be landed');
}

/** Transient bytes of `recordFinish` for a block of that many rows, beside the candidates themselves. */
export function finishScratchBytes(_request: AttentionRequest, _rows: number, _facts: DeviceFacts): number {
  throw new Error('to be landed');
}

/**
 * From candidate lists to the output: rescores every listed key in f32, keeps the k best (ties to the lower index),
 * proves that no key outside the list can be among them and sends the rows where it cannot to an exact slow path over
 * all keys, then softmax, dropout and the weighted sum of values. Writes the block's rows of `views.output` and, when
 * the request saves, of `views.indices` and `views.scores`. The bits of the results do not depend on the lists.
 *
 * `counters`, when given: u32 [COUNTER_WORDS], added to.
 */
export function recordFinish(
  _stream: Stream,
  _facts: DeviceFacts,
  _request: AttentionRequest,
  _views: ForwardViews,
  _block: RowBlock,
  _candidates: Candidates,
  _counters?: Span,
): void {
  throw new Error('to be landed');
}
