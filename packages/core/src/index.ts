export {
  type AttentionHalfOptions,
  attentionBackward,
  attentionForward,
  exactAttention,
  type TopKAttentionResult,
  topKAttention,
} from './attention/attention.js';
export type { AttentionOptions, AttentionShapes, TopKAttentionOptions } from './attention/options.js';
export { relativePositionBucket } from './attention/relative-bias.js';
export { custom } from './autograd/custom.js';
export { grad, type NamedTensors, type Pullback, pullback, valueAndGrad } from './autograd/grad.js';
export type * from './backend.js';
export { activate, gelu, geluTanh, relu, silu } from './composed/activations.js';
export { crossEntropy } from './composed/cross-entropy.js';
export { layerNorm, rmsNorm } from './composed/norms.js';
export { describeValue } from './describe-value.js';
export { bytesPerElement, type DType, isFloat, type TensorData } from './dtype.js';
export { type ErrorCode, type ErrorDetails, isEngineError, TopKError, toEngineError } from './errors.js';
export {
  type ExplainFeedForwardOptions,
  type ExplainOptions,
  type Explanation,
  explain,
  explainFeedForward,
  printFeedForwardPlan,
  printPlan,
} from './explain.js';
export type { FeedForwardTensors, KeptUnits } from './feed-forward/composed.js';
export {
  type FeedForwardForward,
  feedForwardBackward,
  feedForwardForward,
  topKFeedForward,
} from './feed-forward/feed-forward.js';
export type { FeedForwardOptions, FeedForwardSizes, FeedForwardWeights } from './feed-forward/options.js';
export type { PathReport } from './fused.js';
export * from './ops/index.js';
export { philox4x32, philoxBits, philoxKey } from './philox.js';
export { mayHideKeys } from './plan/attention-bytes.js';
export { formatBytes } from './plan/format.js';
export type { PathBytes } from './plan/path-bytes.js';
export {
  type AttentionPlan,
  type PlannedBytes,
  type PlanOptions,
  planAttention,
} from './plan/plan-attention.js';
export {
  type AttentionBackwardPlan,
  type AttentionBackwardPlanOptions,
  type FeedForwardBackwardPlan,
  type FeedForwardBackwardPlanOptions,
  planAttentionBackward,
  planFeedForwardBackward,
} from './plan/plan-backward.js';
export {
  type FeedForwardPlan,
  type FeedForwardPlanOptions,
  planFeedForward,
} from './plan/plan-feed-forward.js';
export type * from './plan/request.js';
export {
  aBoolean,
  aFunction,
  aNumber,
  anArray,
  aString,
  aTensor,
  aValue,
  checkedLater,
  either,
  nearest,
  type OptionKind,
  type OptionKinds,
  oneOf,
  optionsWithin,
  readOptions,
  required,
} from './read-options.js';
export { requireNoNaN } from './require-no-nan.js';
export { scope } from './scope.js';
export { broadcastShapes, formatShape, type Shape, sameShape, sizeOf, stridesOf } from './shape.js';
export { evaluate, fromBackendTensor, Tensor } from './tensor.js';
export type { Tree } from './tree.js';
