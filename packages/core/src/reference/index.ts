export { type ReferenceAttentionResult, referenceAttention } from './attention.js';
export { type ReferenceAttentionGradients, referenceAttentionBackward } from './attention-backward.js';
export type { AttentionArrays } from './attention-scores.js';
export { createReferenceBackend, type ReferenceBackendOptions } from './backend.js';
export {
  type FeedForwardArrays,
  type ReferenceFeedForwardGradients,
  referenceFeedForward,
  referenceFeedForwardBackward,
} from './feed-forward.js';
export { halfToNumber, numberToHalf } from './float16.js';
export {
  type GraphAttentionArrays,
  type ReferenceGraphAttentionGradients,
  type ReferenceGraphAttentionResult,
  referenceGraphAttention,
  referenceGraphAttentionBackward,
} from './graph-attention.js';
export {
  type LinearAttentionArrays,
  type ReferenceLinearAttentionGradients,
  type ReferenceLinearAttentionResult,
  referenceLinearAttention,
  referenceLinearAttentionBackward,
} from './linear-attention.js';
export type { Numbers, ReferenceTensor } from './storage.js';
