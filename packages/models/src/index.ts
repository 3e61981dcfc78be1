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
export type { LayerChoice, LayerChoices, LayerPattern } from './choices.js';
export type { GeneratedToken, GenerateOptions, Generation } from './generation/generate.js';
export type { SourceInput } from './generation/prompts.js';
export { hub } from './hub/hub.js';
export type { HubOptions } from './hub/settings.js';
export { type LoadModelOptions, loadModel, type Model } from './load-model.js';
export type { Progress } from './progress.js';
export {
  exactMatch,
  f1Score,
  normalizeAnswer,
  type QuestionScore,
  scoreAnswer,
} from './question-answering/squad.js';
export { formatUnifiedQA, type UnifiedQAQuestion } from './question-answering/unified-qa.js';
export { parseT5Config, type T5Config } from './t5/config.js';
export type { LayerExplanation } from './t5/explain.js';
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
export { createTokenizer, type EncodeOptions, type TextTokenizer } from './text/tokenizer.js';
