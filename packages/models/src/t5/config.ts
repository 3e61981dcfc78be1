import { type Activation, TopKError } from '@topk-attention/core';
import { activationNames, activationOf } from '../checkpoint/activations.js';
import { type ConfigReader, MOST_LAYERS, readConfig } from '../checkpoint/config-reader.js';
import { checkSpecialIds } from '../checkpoint/special-ids.js';

/** What a T5's config.json says about its arithmetic. */
export interface T5Config {
  readonly vocabSize: number;
  readonly dModel: number;
  /** Width of a head; heads * dKv need not be dModel. */
  readonly dKv: number;
  readonly dFf: number;
  readonly encoderLayers: number;
  readonly decoderLayers: number;
  readonly heads: number;
  readonly buckets: number;
  readonly maxDistance: number;
  readonly epsilon: number;
  /** Of embeddings, attention weights and outputs of sublayers, in training. */
  readonly dropoutRate: number;
  readonly activation: Activation;
  readonly gated: boolean;
  /** The output projection is the embedding (v1.0), unless outputs are not scaled and the checkpoint has its own head. */
  readonly tiedEmbeddings: boolean;
  /** Decoder outputs are multiplied by dModel ** -0.5 before the projection (v1.0). */
  readonly scaledOutputs: boolean;
  readonly padId: number;
  readonly eosIds: readonly number[];
  readonly decoderStartId: number;
}

/** The `model_type`s that `loadT5` loads. */
export const t5Types: readonly string[] = ['t5', 'mt5'];

/**
 * Reads the contents of a config.json.
 *
 * @throws TopKError FILE_CORRUPT when it is not a JSON object, UNKNOWN_MODEL_TYPE, INVALID_CONFIG for a missing or impossible value.
 */
export function parseT5Config(text: string, file = 'config.json'): T5Config {
  const read = readConfig(text, file);
  const type = read.value('model_type');
  if (!t5Types.includes(String(type))) {
    throw new TopKError('UNKNOWN_MODEL_TYPE', `${file}: unknown model_type`, {
      expected: t5Types.map((name) => `"${name}"`).join(' or '),
      got: JSON.stringify(type),
      fix: 'Load a T5 checkpoint: v1.0, v1.1, Flan, mT5 or ByT5',
    });
  }
  const isMultilingual = type === 'mt5';
  const encoderLayers = read.count('num_layers', MOST_LAYERS);
  const padId = read.whole('pad_token_id', 0, 0);
  const tiedEmbeddings = read.boolean('tie_word_embeddings', true);
  const config: T5Config = {
    vocabSize: read.whole('vocab_size', 1),
    dModel: read.whole('d_model', 1),
    dKv: read.whole('d_kv', 1),
    dFf: read.whole('d_ff', 1),
    encoderLayers,
    decoderLayers: read.count('num_decoder_layers', MOST_LAYERS, encoderLayers),
    heads: read.whole('num_heads', 1),
    buckets: read.whole('relative_attention_num_buckets', 4, 32),
    maxDistance: read.whole('relative_attention_max_distance', 2, 128),
    epsilon: read.within('layer_norm_epsilon', 0, 1, 1e-6, true),
    dropoutRate: read.within('dropout_rate', 0, 1, 0.1),
    ...feedForwardOf(read, isMultilingual ? 'gated-gelu' : 'relu'),
    tiedEmbeddings,
    // transformers 5 has a key for it; earlier versions scaled exactly the tied checkpoints, and mT5 never.
    scaledOutputs: !isMultilingual && read.boolean('scale_decoder_outputs', tiedEmbeddings),
    padId,
    eosIds: read.ids('eos_token_id', 1),
    decoderStartId: read.whole('decoder_start_token_id', 0, padId),
  };
  checkSpecialIds(config, read);
  if (config.maxDistance * 2 <= config.buckets) {
    throw read.invalid(
      'relative_attention_max_distance',
      `more than half of ${config.buckets} buckets`,
      config.maxDistance,
    );
  }
  return config;
}

/**
 * A configuration with the special ids of a generation_config.json, where newer checkpoints keep them: they win over
 * config.json, as in transformers. `parseGenerationConfig` reads its other settings.
 *
 * @throws TopKError FILE_CORRUPT when it is not a JSON object, INVALID_CONFIG for an impossible id.
 */
export function withGenerationConfig(
  config: T5Config,
  text: string,
  file = 'generation_config.json',
): T5Config {
  const read = readConfig(text, file);
  const merged: T5Config = {
    ...config,
    padId: read.whole('pad_token_id', 0, config.padId),
    eosIds: read.ids('eos_token_id', config.eosIds),
    decoderStartId: read.whole('decoder_start_token_id', 0, config.decoderStartId),
  };
  checkSpecialIds(merged, read);
  return merged;
}

function feedForwardOf(read: ConfigReader, fallback: string): { activation: Activation; gated: boolean } {
  const key = 'feed_forward_proj';
  const value = read.value(key) ?? fallback;
  const [, gate, name = ''] = typeof value === 'string' ? (/^(gated-)?(\w+)$/.exec(value) ?? []) : [];
  // transformers reads "gated-gelu" as the tanh approximation, which the published v1.1 checkpoints use.
  const activation = gate !== undefined && name === 'gelu' ? 'gelu_tanh' : activationOf(name);
  if (activation !== undefined) return { activation, gated: gate !== undefined };
  throw read.invalid(key, `one of ${activationNames}, or one of them after "gated-"`, value);
}

/** The two stacks. */
export type Stack = 'encoder' | 'decoder';

export function depthOf({ encoderLayers, decoderLayers }: T5Config, stack: Stack): number {
  return stack === 'encoder' ? encoderLayers : decoderLayers;
}

/** Path of every block: 'encoder.0', ..., 'decoder.0', ... */
export function blockPaths(config: T5Config): readonly string[] {
  return (['encoder', 'decoder'] as const).flatMap((stack) =>
    Array.from({ length: depthOf(config, stack) }, (_, block) => `${stack}.${block}`),
  );
}
