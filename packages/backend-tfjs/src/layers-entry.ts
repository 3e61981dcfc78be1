export { convertModelArtifacts } from './convert/convert-artifacts.js';
export { type ConvertTf, convertLayersModel } from './convert/convert-layers-model.js';
export type { ConvertOptions } from './convert/options.js';
export type { ConversionReport, ConvertedLayer, LeftLayer } from './convert/report.js';
export {
  exactAttention,
  type TfAttentionOptions,
  type TfTopKAttentionOptions,
  type TfTopKAttentionResult,
  topKAttention,
} from './functional/attention.js';
export { type TfFeedForwardWeights, topKFeedForward } from './functional/feed-forward.js';
export type { TopKTransformerBlockArgs } from './layers/block-settings.js';
export type { TopKFeedForwardArgs } from './layers/feed-forward.js';
export type { KerasObject, LayersTf, TopKLayerClass } from './layers/layers-tf.js';
export type { TopKMultiHeadAttentionArgs } from './layers/multi-head-attention.js';
export { type TopKLayers, topKLayers } from './layers/top-k-layers.js';
export type { Tf, TfTensor } from './tf.js';
