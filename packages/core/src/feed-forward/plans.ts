import type {
  Backend,
  BackendTensor,
  FeedForwardBackwardInputs,
  FeedForwardInputs,
  FeedForwardOutputs,
  FusedOperations,
} from '../backend.js';
import { choosePath, type PlannedPath } from '../fused.js';
import { type FeedForwardBackwardPlan, planFeedForwardBackward } from '../plan/plan-backward.js';
import { type FeedForwardPlan, planFeedForward } from '../plan/plan-feed-forward.js';
import type { FeedForwardRequest } from '../plan/request.js';

/** Of the caller, as in `FeedForwardOptions`. */
interface Wishes {
  readonly tokenChunk?: number | undefined;
  readonly budgetBytes?: number | undefined;
}

type Forward = PlannedPath<
  FeedForwardRequest,
  FeedForwardInputs<BackendTensor>,
  FeedForwardOutputs<BackendTensor>,
  FeedForwardPlan
>;
type Backward = PlannedPath<
  FeedForwardRequest,
  FeedForwardBackwardInputs<BackendTensor>,
  FeedForwardInputs<BackendTensor>,
  FeedForwardBackwardPlan
>;

/** Of all options of a call, what planning takes. */
function wishesOf({ tokenChunk, budgetBytes }: Wishes): Wishes {
  return { tokenChunk, budgetBytes };
}

/** The path that a backend takes forward, with its plan. @throws TopKError DOES_NOT_FIT. */
export function planForward(backend: Backend, request: FeedForwardRequest, wishes: Wishes): Forward {
  const chosen = choosePath(backend, fusedForward(backend, request), request);
  const path = chosen.fused ?? backend.composedBytes?.feedForward;
  const saves = request.saves === true;
  const plan = planFeedForward(request, backend.capabilities.limits, {
    ...wishesOf(wishes),
    saves,
    path,
  });
  return { ...chosen, plan };
}

/** The path that a backend takes backward, with its plan. @throws TopKError DOES_NOT_FIT. */
export function planBackward(backend: Backend, wanted: FeedForwardRequest, wishes: Wishes): Backward {
  const { limits } = backend.capabilities;
  const request = { ...wanted, saves: true };
  const chosen = choosePath(backend, fusedBackward(backend, request), request);
  const path = chosen.fused ?? backend.composedBytes?.feedForwardBackward;
  const heldBytes = limits.keepsScratch ? planForward(backend, request, wishes).plan.bytes.scratch : 0;
  const plan = planFeedForwardBackward(request, limits, { ...wishesOf(wishes), heldBytes, path });
  return { ...chosen, plan };
}

/**
 * The backend's own forward pass, if it may run: a training call takes it only together with the backend's own backward
 * pass, since nobody else reads the lists it saves.
 */
function fusedForward(
  { fused }: Backend,
  request: FeedForwardRequest,
): FusedOperations<BackendTensor>['feedForward'] {
  if (request.saves !== true) return fused?.feedForward;
  return fused?.feedForwardBackward?.refuses(request).length === 0 ? fused.feedForward : undefined;
}

/** And the other way round. */
function fusedBackward(
  { fused }: Backend,
  request: FeedForwardRequest,
): FusedOperations<BackendTensor>['feedForwardBackward'] {
  return fused?.feedForward?.refuses(request).length === 0 ? fused.feedForwardBackward : undefined;
}
