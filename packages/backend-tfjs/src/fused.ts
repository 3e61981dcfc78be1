import type { FusedOperations } from '@topk-attention/core/backend';
import { fusedAttentionBackward } from './attention/backward/fused-backward.js';
import { fusedAttention } from './attention/forward/fused-attention.js';
import type { Engine } from './engine/engine.js';
import { fusedFeedForward } from './feed-forward/fused-feed-forward.js';
import type { TensorExchange, TfjsTensor } from './tensor.js';

/** Operations that run as a whole instead of being composed from primitives. */
export function fusedOperations(engine: Engine, exchange: TensorExchange): FusedOperations<TfjsTensor> {
  return {
    attention: fusedAttention(engine, exchange),
    attentionBackward: fusedAttentionBackward(engine, exchange),
    feedForward: fusedFeedForward(engine, exchange),
  };
}
