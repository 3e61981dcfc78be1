import type {
  AttentionBackwardInputs,
  AttentionGradients,
  AttentionRequest,
  DType,
  FusedOperation,
  Shape,
} from '@topk-attention/core';
import type { DeviceFacts } from '../runtime/facts.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../view.js';
import { fusedAttentionBackward } from './backward/fused-attention-backward.js';
import { exactBackward } from './exact-backward/exact-backward.js';

type Backward<T> = FusedOperation<AttentionRequest, AttentionBackwardInputs<T>, AttentionGradients<T>>;

/** Gradients of attention: from the lists of kept keys, or of all keys. */
export function fusedBackward<T extends View>(
  stream: Stream,
  facts: DeviceFacts,
  allocate: (shape: Shape, dtype: DType) => T,
): Backward<T> {
  const ofLists = fusedAttentionBackward(stream, facts, allocate);
  const ofAll = exactBackward(stream, facts, allocate);
  const takes = (request: AttentionRequest): Backward<T> => (request.k === 'all' ? ofAll : ofLists);
  return {
    refuses: (request) => takes(request).refuses(request),
    describe: (request) => takes(request).describe?.(request) ?? '',
    preferredChunk: (request) => takes(request).preferredChunk?.(request),
    scratchBytes: (request, chunk) => takes(request).scratchBytes(request, chunk),
    largestBytes: (request, chunk) => takes(request).largestBytes?.(request, chunk) ?? 0,
    run: (request, inputs, chunk) => takes(request).run(request, inputs, chunk),
  };
}
