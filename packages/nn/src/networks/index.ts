export { attentionLayer, type MultiHeadAttention } from './attention-layer.js';
export type {
  AttentionInitializers,
  AttentionInputs,
  AttentionLayerOptions,
  AttentionLayerSettings,
} from './attention-settings.js';
export { type ClassifierHeadOptions, classifierHead } from './classifier-head.js';
export { type DecoderInputs, type DecoderLayer, decoderLayer } from './decoder-layer.js';
export { dropoutLayer } from './dropout-layer.js';
export { type EmbeddingLayerOptions, embeddingLayer } from './embedding-layer.js';
export {
  defineEncoderLayer,
  type EncoderInputs,
  type EncoderLayer,
  encoderLayer,
  type SelfAttentionSettings,
  type TransformerLayerOptions,
} from './encoder-layer.js';
export {
  type FeedForwardLayerOptions,
  type FeedForwardLayerSettings,
  feedForwardLayer,
} from './feed-forward-layer.js';
export { joinInProjections, splitInProjections } from './in-projections.js';
export { defineLayer, type Layer } from './layer.js';
export { type LinearLayerOptions, linearLayer } from './linear-layer.js';
export { withLosses } from './losses.js';
export { type NormLayerOptions, normLayer } from './norm-layer.js';
export {
  type LearnedPositionsOptions,
  learnedPositions,
  type Positions,
  type SinusoidalPositionsOptions,
  sinusoidalPositions,
} from './positions.js';
export type { RelativePositions } from './relative-table.js';
export { type RotaryOptions, rotary, rotated } from './rotary.js';
export {
  type DecoderStack,
  decoderStack,
  type EncoderStack,
  encoderStack,
  type StackOptions,
  type StackStep,
} from './stacks.js';
export { t5Initializers } from './t5-initializers.js';
export { tiedLayer } from './tied.js';
