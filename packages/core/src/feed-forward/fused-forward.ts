import type { Backend, BackendTensor, FusedOperations } from '../backend.js';
import type { FeedForwardRequest } from '../plan/request.js';

/**
 * The backend's own forward pass, if it may run: a training call takes it only together with the backend's own backward
 * pass, since nobody else reads the lists it saves.
 */
export function fusedForward(
  { fused }: Pick<Backend, 'fused'>,
  request: FeedForwardRequest,
): FusedOperations<BackendTensor>['feedForward'] {
  if (request.saves !== true) return fused?.feedForward;
  return fused?.feedForwardBackward?.refuses(request).length === 0 ? fused.feedForward : undefined;
}
