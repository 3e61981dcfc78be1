export {
  type ActivationOverride,
  type AttentionChoice,
  type AttentionFunction,
  type FeedForwardChoice,
  type FileSource,
  type KeptKeys,
  type KeptUnits,
  type ParameterTree,
  type Seeds,
  seedsFrom,
  type Trace,
} from '@topk-attention/nn';
export type { CausalLMConfig } from './causal-lm/config.js';
export { type CausalLMForwardOptions, type CausalLMInputs, causalLMForward } from './causal-lm/forward.js';
export { type CausalLMCheckpoint, loadCausalLM, loadCausalLMParameters } from './causal-lm/load.js';
export { type CausalLM, createCausalLM } from './causal-lm/model.js';
export type {
  CausalLMExplainOptions,
  CausalLMGenerateOptions,
  CausalLMLogitsOptions,
  CreateCausalLMOptions,
  LoadCausalLMOptions,
  LoadCausalLMParametersOptions,
} from './causal-lm/options.js';
export { parseCausalLMConfig } from './causal-lm/parse-config.js';
export type { RotaryConfig, RotaryScaling } from './causal-lm/rotary-frequencies.js';
export { causalLMParameterSpecs } from './causal-lm/weights.js';
export type { LoadCheckpointOptions } from './checkpoint/load-options.js';
export type {
  LayerChoice,
  LayerChoices,
  LayerPattern,
  ResolvedChoice,
  StackChoices,
  StackLayerChoice,
} from './choices.js';
export type { AnswerSample } from './choosing-k/answer-sample.js';
export type { ComparableModel, Comparison, LayerPart } from './choosing-k/comparison.js';
export { type KErrorsOptions, kErrors, type LayerError } from './choosing-k/k-errors.js';
export type { Measure, OutputError } from './choosing-k/output-error.js';
export type { Chosen } from './choosing-k/samples.js';
export {
  type SuggestedK,
  type SuggestedLayer,
  type SuggestKOptions,
  suggestK,
} from './choosing-k/suggest-k.js';
export type { ScoredLabel } from './encoder/classes.js';
export {
  type EncoderConfig,
  type EncoderConfigOptions,
  type EncoderFamily,
  parseEncoderConfig,
} from './encoder/config.js';
export { type EncoderForwardOptions, encoderForward, encoderLogits } from './encoder/forward.js';
export { type EncoderCheckpoint, loadEncoder, loadEncoderParameters } from './encoder/load.js';
export type { MaskWord } from './encoder/masks.js';
export { createEncoder, type Encoder, type TokenLabel } from './encoder/model.js';
export type {
  AnswerOptions,
  ContextQuestion,
  CreateEncoderOptions,
  EmbedOptions,
  EncoderCallOptions,
  EncoderLogitsOptions,
  ExplainEncoderOptions,
  FillMaskOptions,
  LoadEncoderOptions,
  LoadEncoderParametersOptions,
} from './encoder/options.js';
export type { EncoderTask } from './encoder/task.js';
export type { EncoderInputs } from './encoder/token-rows.js';
export type { EncoderSource, TextPair } from './encoder/token-sources.js';
export { encoderParameterSpecs } from './encoder/weights.js';
export type { ForwardOptions } from './forward-options.js';
export type { FinishReason, GeneratedToken } from './generation/continuation.js';
export type { Generation } from './generation/generate.js';
export type { GenerateOptions } from './generation/options.js';
export type { SourceInput } from './generation/prompts.js';
export type { GenerationSettings } from './generation/settings.js';
export { hub } from './hub/hub.js';
export type { HubOptions } from './hub/settings.js';
export type { LayerExplanation } from './layer-explanation.js';
export { type LoadModelOptions, loadModel, type Model } from './load-model.js';
export type { Progress } from './progress.js';
export type { ExtractedAnswer } from './question-answering/answer-spans.js';
export {
  exactMatch,
  f1Score,
  normalizeAnswer,
  type QuestionScore,
  scoreAnswer,
} from './question-answering/squad.js';
export { formatUnifiedQA, type UnifiedQAQuestion } from './question-answering/unified-qa.js';
export { parseT5Config, type T5Config } from './t5/config.js';
export { type T5ForwardOptions, type T5Inputs, type T5Sources, t5Encode, t5Forward } from './t5/forward.js';
export { loadT5, loadT5Parameters, type T5Checkpoint } from './t5/load.js';
export { createT5, type T5 } from './t5/model.js';
export type {
  CreateT5Options,
  ExplainOptions,
  LoadT5Options,
  LoadT5ParametersOptions,
  LogitsOptions,
} from './t5/options.js';
export { t5ParameterSpecs } from './t5/weights.js';
export { type ByteTokenizerOptions, createByteTokenizer } from './text/byte-tokenizer.js';
export type { WrappedIds } from './text/special-tokens.js';
export type { SpanTokenizer, TokenSpans } from './text/token-spans.js';
export { createTokenizer, type EncodeOptions, type TextTokenizer } from './text/tokenizer.js';
