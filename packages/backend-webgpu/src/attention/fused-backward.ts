import type {
  AttentionBackwardInputs,
  AttentionGradients,
  AttentionRequest,
  DType,
  FusedOperation,
  Shape,
} from '@topk-attention/core/backend';
import type { DeviceFacts } from '../runtime/facts.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import { fusedAttentionBackward } from './backward/fused-attention-backward.js';
import { exactBackward } from './exact-backward/exact-backward.js';
import { relativeRefusals } from './shared/relative-bias.js';

/** Gradients of attention: from the lists of kept keys, or of all keys. */
export function fusedBackward<T extends View>(
  stream: Stream,
  facts: DeviceFacts,
  allocate: (shape: Shape, dtype: DType) => T,
): FusedOperation<AttentionRequest, AttentionBackwardInputs<T>, AttentionGradients<T>> {
  const ofLists = fusedAttentionBackward(stream, facts, allocate);
  const ofAll = exactBackward(stream, facts, allocate);
  return {
    prepare(request, limits) {
      const refusals = relativeRefusals(request);
      if (refusals.length > 0) return { refusals };
      return (request.k === 'all' ? ofAll : ofLists).prepare(request, limits);
    },
  };
}
