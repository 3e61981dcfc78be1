import type { Activation } from '@topk-attention/core';
import type { T5Settings } from './exportable.js';

/** Activations by the names of transformers. */
const names: { readonly [activation in Activation]: string } = {
  relu: 'relu',
  gelu: 'gelu',
  gelu_tanh: 'gelu_new',
  silu: 'silu',
};

/** config.json, as transformers.js and optimum read it beside ONNX files. */
export function configOf(config: T5Settings): object {
  const activation = names[config.activation];
  // "gated-gelu" is the tanh approximation.
  const gate = activation === 'gelu_new' ? 'gated-gelu' : `gated-${activation}`;
  return {
    architectures: ['T5ForConditionalGeneration'],
    model_type: 't5',
    is_encoder_decoder: true,
    vocab_size: config.vocabSize,
    d_model: config.dModel,
    d_kv: config.dKv,
    d_ff: config.dFf,
    num_layers: config.encoderLayers,
    num_decoder_layers: config.decoderLayers,
    num_heads: config.heads,
    relative_attention_num_buckets: config.buckets,
    relative_attention_max_distance: config.maxDistance,
    layer_norm_epsilon: config.epsilon,
    dropout_rate: config.dropoutRate,
    feed_forward_proj: config.gated ? gate : activation,
    dense_act_fn: activation,
    is_gated_act: config.gated,
    tie_word_embeddings: config.tiedEmbeddings,
    scale_decoder_outputs: config.scaledOutputs,
    use_cache: true,
    ...specialIds(config),
    // Without it transformers.js looks for files of 8-bit weights.
    'transformers.js_config': { dtype: 'fp32' },
  };
}

/** generation_config.json */
export function generationConfigOf(config: T5Settings): object {
  return specialIds(config);
}

function specialIds({ padId, eosIds, decoderStartId }: T5Settings): object {
  return {
    decoder_start_token_id: decoderStartId,
    eos_token_id: eosIds.length === 1 ? eosIds[0] : eosIds,
    pad_token_id: padId,
  };
}
