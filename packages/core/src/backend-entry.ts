/** For authors of backends, and of operations that backends may fuse. */

export {
  type AttentionHalfOptions,
  attentionBackward,
  attentionForward,
} from './attention/attention.js';
export { attentionKinds } from './attention/options.js';
export { relativePositionBucket } from './attention/relative-bias.js';
export type * from './contract/adafactor.js';
export type * from './contract/attention.js';
export type * from './contract/backend.js';
export {
  type ChosenAttention,
  type ChosenFeedForward,
  chooseAttention,
  chooseFeedForward,
  describeSelection,
  type Selection,
} from './contract/choices.js';
export type * from './contract/count-below.js';
export type * from './contract/cross-entropy.js';
export type * from './contract/drawn-entries.js';
export {
  type DropoutInputs,
  type DropoutNumbers,
  type DropoutOutputs,
  type DropoutRequest,
  dropoutNumbers,
} from './contract/dropout.js';
export { bytesPerElement, type DType, isFloat, type TensorData } from './contract/dtype.js';
export type * from './contract/elementwise.js';
export * from './contract/entmax.js';
export {
  type CoreErrorCode,
  type ErrorCode,
  type ErrorDetails,
  isEngineError,
  TopKError,
  toEngineError,
} from './contract/errors.js';
export type * from './contract/feed-forward.js';
export type * from './contract/fused.js';
export type * from './contract/graph-attention.js';
export type * from './contract/graph-product.js';
export type * from './contract/limits.js';
export type * from './contract/linear.js';
export type * from './contract/linear-attention.js';
export type * from './contract/norm.js';
export type * from './contract/op-names.js';
export { philox4x32, philoxBits, philoxKey } from './contract/philox.js';
export {
  type DropoutWords,
  dropoutWords,
  groupSize,
  mayHideKeys,
  mayMaskKeys,
  queryStartOf,
  relativeBuckets,
  scalesExactly,
} from './contract/request-facts.js';
export { broadcastShapes, formatShape, type Shape, sameShape, sizeOf, stridesOf } from './contract/shape.js';
export type * from './contract/sum-squares.js';
export type * from './contract/toeplitz-product.js';
export type { KeptUnits } from './feed-forward/composed.js';
export {
  type FeedForwardForward,
  feedForwardBackward,
  feedForwardForward,
} from './feed-forward/feed-forward.js';
export type { FeedForwardTensors } from './feed-forward/request.js';
export {
  type BackwardRoles,
  type ChunkRange,
  type Chunks,
  type ComposedPass,
  type DifferentiableOperation,
  defineOperation,
  type Operation,
  type PassBytes,
  type PassDefinition,
} from './operation/define.js';
export {
  type ExplainedPass,
  type Explanation,
  explainOperation,
  type PathReport,
} from './operation/explain.js';
export type { Plan, PlannedBytes, Wishes } from './operation/plan.js';
export { entriesOf, fromRoles, mapRoles, type Roles, valuesOf } from './operation/roles.js';
export { type OperationCall, runBackward, runForward, runOperation } from './operation/run.js';
export { noteSeed } from './recording/used-seeds.js';
export type { OutputSpec } from './tensor/apply.js';
export { describeValue } from './tensor/describe-value.js';
export { fromBackendTensor } from './tensor/tensor.js';
export { requireTree } from './tensor/tree.js';
