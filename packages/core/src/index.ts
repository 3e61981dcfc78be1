export { exactAttention, type TopKAttentionResult, topKAttention } from './attention/attention.js';
export { type ExplainOptions, explain, type TensorOrShape } from './attention/explain.js';
export type {
  AttentionOptions,
  AttentionShapes,
  ExactAttentionOptions,
  TopKAttentionOptions,
} from './attention/options.js';
export {
  type AttentionBackwardPlan,
  type AttentionBackwardPlanOptions,
  type AttentionPlan,
  type PlanOptions,
  planAttention,
  planAttentionBackward,
  printPlan,
} from './attention/plan.js';
export { relativePositionBucket } from './attention/relative-bias.js';
export { custom } from './autograd/custom.js';
export { grad, type NamedTensors, type Pullback, pullback, valueAndGrad } from './autograd/grad.js';
export { recompute } from './autograd/recompute.js';
export type { AttentionRequest, RelativeBiasOptions } from './contract/attention.js';
export type { Backend, Capabilities, MemoryReport } from './contract/backend.js';
export { bytesPerElement, type DType, isFloat, type TensorData } from './contract/dtype.js';
export type { ElementwiseProgram, Expression } from './contract/elementwise.js';
export { type CoreErrorCode, type ErrorCode, type ErrorDetails, TopKError } from './contract/errors.js';
export type { Activation, FeedForwardRequest, FeedForwardSelect } from './contract/feed-forward.js';
export type { DeviceLimits } from './contract/limits.js';
export { formatShape, type Shape, sizeOf } from './contract/shape.js';
export { type MapElementsOptions, mapElements } from './elementwise/map-elements.js';
export { mapElementsOfAll } from './elementwise/map-elements-of-all.js';
export { elementwiseProgram, type Term, terms } from './elementwise/program.js';
export { ProgramNumbers } from './elementwise/program-numbers.js';
export { type ExplainFeedForwardOptions, explainFeedForward } from './feed-forward/explain.js';
export { topKFeedForward } from './feed-forward/feed-forward.js';
export type { FeedForwardOptions, FeedForwardSizes, FeedForwardWeights } from './feed-forward/options.js';
export {
  type FeedForwardBackwardPlan,
  type FeedForwardBackwardPlanOptions,
  type FeedForwardPlan,
  type FeedForwardPlanOptions,
  planFeedForward,
  planFeedForwardBackward,
  printFeedForwardPlan,
} from './feed-forward/plan.js';
export { activate, gelu, geluTanh, relu, silu } from './functions/activations.js';
export { type CrossEntropyOptions, crossEntropy } from './functions/cross-entropy.js';
export { type DropoutOptions, dropout } from './functions/dropout.js';
export { type LinearOptions, linear } from './functions/linear.js';
export { layerNorm, rmsNorm } from './functions/norms.js';
export { sumSquares } from './functions/sum-squares.js';
export { type ExplainGraphAttentionOptions, explainGraphAttention } from './graph-attention/explain.js';
export { graphAttention } from './graph-attention/graph-attention.js';
export type { GraphAttentionOptions, GraphAttentionShapes } from './graph-attention/options.js';
export { requireGraph } from './graph-attention/require-graph.js';
export { type ExplainLinearAttentionOptions, explainLinearAttention } from './linear-attention/explain.js';
export { type LinearAttentionResult, linearAttention } from './linear-attention/linear-attention.js';
export type {
  LinearAttentionOptions,
  LinearAttentionShapes,
  LinearAttentionState,
} from './linear-attention/options.js';
export type { ExplainedPass, Explanation, PathReport } from './operation/explain.js';
export { formatBytes } from './operation/format.js';
export type { Plan, PlannedBytes } from './operation/plan.js';
export * from './ops/index.js';
export { dryBackend } from './planning/dry-backend.js';
export { type PlanStepOptions, planStep, type StepBytes } from './planning/plan-step.js';
export { recordedStep } from './recording/recorded-step.js';
export type {
  RecordedStep,
  RecordedStepOptions,
  Step,
  StepCall,
  StepCounts,
  StepResult,
  StepSeeds,
} from './recording/step.js';
export { describeValue } from './tensor/describe-value.js';
export type { Operand, Operations } from './tensor/operations.js';
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
} from './tensor/read-options.js';
export { requireNoNaN } from './tensor/require-no-nan.js';
export { scope } from './tensor/scope.js';
export { evaluate, Tensor } from './tensor/tensor.js';
export type { Tree } from './tensor/tree.js';
export {
  type ExplainToeplitzProductOptions,
  explainToeplitzProduct,
  type ToeplitzProductShapes,
} from './toeplitz/explain.js';
export { toeplitzProduct } from './toeplitz/toeplitz-product.js';
