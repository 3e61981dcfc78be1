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
export type { LoadCheckpointOptions } from './checkpoint/load-options.js';
export type { LayerChoice, LayerChoices, LayerPattern, StackChoices, StackLayerChoice } from './choices.js';
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
export type { GeneratedToken, GenerateOptions, Generation } from './generation/generate.js';
export type { SourceInput } from './generation/prompts.js';
export type { LayerExplanation } from './layer-explanation.js';
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
export type { WrappedIds } from './text/special-tokens.js';
export type { SpanTokenizer, TokenSpans } from './text/token-spans.js';
export { createTokenizer, type EncodeOptions, type TextTokenizer } from './text/tokenizer.js';
