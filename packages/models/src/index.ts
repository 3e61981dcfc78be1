export type { FileSource } from './files/file-source.js';
export type {
  AttentionChoice,
  FeedForwardChoice,
  LayerChoice,
  LayerChoices,
  LayerName,
} from './layer-choice.js';
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
export { loadT5 } from './t5/load.js';
export type {
  ExplainOptions,
  GeneratedToken,
  GenerateOptions,
  Generation,
  LayerExplanation,
  LoadT5Options,
  LogitsOptions,
  SourceInput,
  T5,
} from './t5/t5.js';
export { createTokenizer, type EncodeOptions, type TextTokenizer } from './text/tokenizer.js';
