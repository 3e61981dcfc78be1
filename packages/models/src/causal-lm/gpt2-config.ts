import { type ConfigReader, MOST_LAYERS } from '../checkpoint/config-reader.js';
import { type CausalLMConfig, readActivation, readSpecialIds, unsupported } from './config.js';

/** GPT-2 and what shares its architecture, such as DistilGPT-2 and DialoGPT. */
export function readGpt2Config(read: ConfigReader, file: string): CausalLMConfig {
  if (read.boolean('add_cross_attention', false)) {
    throw unsupported(file, 'add_cross_attention', 'a model without cross-attention', true);
  }
  const dModel = read.whole('n_embd', 1);
  const heads = read.whole('n_head', 1);
  if (dModel % heads !== 0) throw read.invalid('n_head', `a number that divides n_embd ${dModel}`, heads);
  return {
    layout: 'gpt2',
    vocabSize: read.whole('vocab_size', 1),
    dModel,
    dFf: read.whole('n_inner', 1, 4 * dModel),
    layers: read.count('n_layer', MOST_LAYERS),
    heads,
    keyValueHeads: heads,
    headDim: dModel / heads,
    maxPositions: read.whole('n_positions', 1, 1024),
    rotary: undefined,
    norm: 'layerNorm',
    epsilon: read.within('layer_norm_epsilon', 0, 1, 1e-5, true),
    activation: readActivation(read, 'activation_function', 'gelu_new'),
    attentionBias: { input: true, output: true },
    headNorms: false,
    scoreScale: {
      byWidth: read.boolean('scale_attn_weights', true),
      byLayer: read.boolean('scale_attn_by_inverse_layer_idx', false),
    },
    dropout: {
      embedding: read.within('embd_pdrop', 0, 1, 0.1),
      attention: read.within('attn_pdrop', 0, 1, 0.1),
      residual: read.within('resid_pdrop', 0, 1, 0.1),
    },
    tiedEmbeddings: read.boolean('tie_word_embeddings', true),
    ...readSpecialIds(read, [50_256]),
  };
}
