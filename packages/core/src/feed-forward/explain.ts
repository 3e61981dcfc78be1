import type { Backend } from '../contract/backend.js';
import { type Explanation, explainOperation } from '../operation/explain.js';
import { aBoolean, type OptionKinds, readOptions } from '../tensor/read-options.js';
import { feedForward } from './definition.js';
import { type FeedForwardOptions, type FeedForwardSizes, feedForwardKinds, sizeKinds } from './options.js';
import { type FeedForwardBackwardPlan, type FeedForwardPlan, feedForwardPlan, wishesOf } from './plan.js';
import { feedForwardRequest } from './request.js';

/** Options of `explainFeedForward`: those of the call. */
export interface ExplainFeedForwardOptions extends FeedForwardOptions {
  /** Whether gradients are wanted. Default false. */
  readonly training?: boolean;
}

const explainKinds: OptionKinds<ExplainFeedForwardOptions> = { training: aBoolean, ...feedForwardKinds };

/** `explain` for a feed-forward call. Training runs a fused version only if the backward pass has one too. */
export function explainFeedForward(
  backend: Backend,
  sizes: FeedForwardSizes,
  options: ExplainFeedForwardOptions,
): Explanation<FeedForwardPlan, FeedForwardBackwardPlan> {
  const given = readOptions('explainFeedForward', options, explainKinds);
  readOptions('explainFeedForward: sizes', sizes, sizeKinds);
  const { training = false } = given;
  return explainOperation(feedForward, backend, {
    where: 'topKFeedForward',
    request: feedForwardRequest(sizes, given),
    wishes: wishesOf(given),
    training,
    named: feedForwardPlan,
  });
}
