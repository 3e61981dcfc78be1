import type {
  AttentionBackwardInputs,
  AttentionGradients,
  AttentionInputs,
  AttentionOutputs,
  Backend,
  BackendTensor,
} from '../backend.js';
import { choosePath, type PlannedPath } from '../fused.js';
import { type AttentionPlan, planAttention } from '../plan/plan-attention.js';
import { type AttentionBackwardPlan, planAttentionBackward } from '../plan/plan-backward.js';
import type { AttentionRequest } from '../plan/request.js';

/** Of the caller, as in `AttentionOptions`. */
interface Wishes {
  readonly queryChunk?: number | undefined;
  readonly budgetBytes?: number | undefined;
}

type Forward = PlannedPath<
  AttentionRequest,
  AttentionInputs<BackendTensor>,
  AttentionOutputs<BackendTensor>,
  AttentionPlan
>;
type Backward = PlannedPath<
  AttentionRequest,
  AttentionBackwardInputs<BackendTensor>,
  AttentionGradients<BackendTensor>,
  AttentionBackwardPlan
>;

/** Of all options of a call, what planning takes. */
function wishesOf({ queryChunk, budgetBytes }: Wishes): Wishes {
  return { queryChunk, budgetBytes };
}

/** The path that a backend takes forward, with its plan. @throws TopKError DOES_NOT_FIT. */
export function planForward(backend: Backend, request: AttentionRequest, wishes: Wishes): Forward {
  const chosen = choosePath(backend, backend.fused?.attention, request);
  const path = chosen.fused ?? backend.composedBytes?.attention;
  const plan = planAttention(request, backend.capabilities.limits, { ...wishesOf(wishes), path });
  return { ...chosen, plan };
}

/** The path that a backend takes backward, with its plan. @throws TopKError DOES_NOT_FIT. */
export function planBackward(backend: Backend, wanted: AttentionRequest, wishes: Wishes): Backward {
  const { limits } = backend.capabilities;
  const request = { ...wanted, saves: true };
  const chosen = choosePath(backend, backend.fused?.attentionBackward, request);
  const path = chosen.fused ?? backend.composedBytes?.attentionBackward;
  const heldBytes = limits.keepsScratch ? planForward(backend, request, wishes).plan.bytes.scratch : 0;
  const plan = planAttentionBackward(request, limits, { ...wishesOf(wishes), heldBytes, path });
  return { ...chosen, plan };
}
