import type { Activation } from '@topk-attention/core';
import type { T5Settings } from './exportable.js';

/** Activations by the names of transformers. */
const names: { readonly [activation in Activation]: string } = {
  relu: 'relu',
  gelu: 'gelu',
  gelu_tanh: 'gelu_new',
  silu: 'silu',
};

/** What transformers.js must know of the files. */
export interface FilesSettings {
  readonly dtype: 'fp32' | 'fp16';
  /** The type of the past by that of the file; version 4 reads it from the file. */
  readonly kv_cache_dtype?: { readonly fp16: 'float16' };
  /** How many files of weights belong to a model's file. */
  readonly use_external_data_format?: { readonly [file: string]: number };
}

/** config.json, as transformers.js and optimum read it beside ONNX files. */
export function configOf(config: T5Settings, files: FilesSettings): object {
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
    'transformers.js_config': files,
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
