import { type Activation, TopKError } from '@topk-attention/core';

/** The part of a T5's config.json that its arithmetic depends on. */
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
  readonly activation: Activation;
  readonly gated: boolean;
  /** The output projection is the embedding (v1.0), unless outputs are not scaled and the checkpoint has a head. */
  readonly tiedEmbeddings: boolean;
  /** Decoder outputs are multiplied by dModel ** -0.5 before the projection (v1.0). */
  readonly scaledOutputs: boolean;
  readonly padId: number;
  readonly eosIds: readonly number[];
  readonly decoderStartId: number;
}

const activations: { readonly [name: string]: Activation } = {
  relu: 'relu',
  gelu: 'gelu',
  gelu_new: 'gelu_tanh',
  gelu_pytorch_tanh: 'gelu_tanh',
  silu: 'silu',
  swish: 'silu',
};

/**
 * Reads the contents of a config.json.
 *
 * @throws TopKError FILE_CORRUPT when it is not a JSON object, UNKNOWN_MODEL_TYPE, INVALID_CONFIG for a missing or impossible value.
 */
export function parseT5Config(text: string, file = 'config.json'): T5Config {
  const json = parseObject(text, file);
  if (json.model_type !== 't5') {
    throw new TopKError('UNKNOWN_MODEL_TYPE', `${file}: unknown model_type`, {
      expected: '"t5"',
      got: JSON.stringify(json.model_type),
      fix: 'Load a T5 checkpoint (v1.0 or v1.1)',
    });
  }
  const number = (key: string, minimum: number, fallback?: number): number =>
    wholeNumber(json, file, key, minimum, fallback);
  const encoderLayers = number('num_layers', 1);
  const padId = number('pad_token_id', 0, 0);
  const tiedEmbeddings = booleanOf(json.tie_word_embeddings ?? true, file, 'tie_word_embeddings');
  const config: T5Config = {
    vocabSize: number('vocab_size', 1),
    dModel: number('d_model', 1),
    dKv: number('d_kv', 1),
    dFf: number('d_ff', 1),
    encoderLayers,
    decoderLayers: number('num_decoder_layers', 1, encoderLayers),
    heads: number('num_heads', 1),
    buckets: number('relative_attention_num_buckets', 4, 32),
    maxDistance: number('relative_attention_max_distance', 2, 128),
    epsilon: epsilonOf(json.layer_norm_epsilon ?? 1e-6, file),
    ...feedForwardOf(json.feed_forward_proj ?? 'relu', file),
    tiedEmbeddings,
    // transformers 5 says so by a key of its own; before, only tied checkpoints were scaled.
    scaledOutputs: booleanOf(json.scale_decoder_outputs ?? tiedEmbeddings, file, 'scale_decoder_outputs'),
    padId,
    eosIds: idsOf(json.eos_token_id ?? 1, file),
    decoderStartId: number('decoder_start_token_id', 0, padId),
  };
  checkIds(config, file);
  if (config.maxDistance * 2 <= config.buckets) {
    throw invalid(
      file,
      'relative_attention_max_distance',
      `more than half of ${config.buckets} buckets`,
      config.maxDistance,
    );
  }
  return config;
}

/**
 * A configuration with the special ids of a generation_config.json, which newer checkpoints keep there: what it says wins over config.json,
 * as in transformers. Its other settings (lengths, beams, sampling) are not used.
 *
 * @throws TopKError FILE_CORRUPT when it is not a JSON object, INVALID_CONFIG for an impossible id.
 */
export function withGenerationConfig(
  config: T5Config,
  text: string,
  file = 'generation_config.json',
): T5Config {
  const json = parseObject(text, file);
  const merged: T5Config = {
    ...config,
    padId: wholeNumber(json, file, 'pad_token_id', 0, config.padId),
    eosIds: idsOf(json.eos_token_id ?? config.eosIds, file),
    decoderStartId: wholeNumber(json, file, 'decoder_start_token_id', 0, config.decoderStartId),
  };
  checkIds(merged, file);
  return merged;
}

/** Special ids have to be ids of the vocabulary. */
function checkIds({ padId, eosIds, decoderStartId, vocabSize }: T5Config, file: string): void {
  for (const [key, ids] of [
    ['pad_token_id', [padId]],
    ['decoder_start_token_id', [decoderStartId]],
    ['eos_token_id', eosIds],
  ] as const) {
    const bad = ids.find((id) => id >= vocabSize);
    if (bad !== undefined) throw invalid(file, key, `an id below vocab_size ${vocabSize}`, bad);
  }
}

function wholeNumber(
  json: { readonly [key: string]: unknown },
  file: string,
  key: string,
  minimum: number,
  fallback?: number,
): number {
  const value = json[key] ?? fallback;
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= minimum) return value;
  throw invalid(file, key, `a whole number of at least ${minimum}`, value);
}

function parseObject(text: string, file: string): { readonly [key: string]: unknown } {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new TopKError('FILE_CORRUPT', `${file}: not JSON`, { cause, fix: 'Download the file again' });
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value };
  throw new TopKError('FILE_CORRUPT', `${file}: not a JSON object`, { fix: 'Download the file again' });
}

function feedForwardOf(value: unknown, file: string): { activation: Activation; gated: boolean } {
  const [, gate, name = ''] = typeof value === 'string' ? (/^(gated-)?(\w+)$/.exec(value) ?? []) : [];
  // transformers reads "gated-gelu" as the tanh approximation, that of the published v1.1 checkpoints.
  const activation =
    gate !== undefined && name === 'gelu'
      ? 'gelu_tanh'
      : Object.hasOwn(activations, name)
        ? activations[name]
        : undefined;
  if (activation !== undefined) return { activation, gated: gate !== undefined };
  const names = Object.keys(activations).join(', ');
  throw invalid(file, 'feed_forward_proj', `one of ${names}, or one of them after "gated-"`, value);
}

function epsilonOf(value: unknown, file: string): number {
  if (typeof value === 'number' && value > 0 && value < 1) return value;
  throw invalid(file, 'layer_norm_epsilon', 'a number between 0 and 1', value);
}

function booleanOf(value: unknown, file: string, key: string): boolean {
  if (typeof value === 'boolean') return value;
  throw invalid(file, key, 'true or false', value);
}

function idsOf(value: unknown, file: string): readonly number[] {
  const ids: readonly unknown[] = Array.isArray(value) ? value : [value];
  const whole = ids.filter((id) => typeof id === 'number' && Number.isSafeInteger(id) && id >= 0);
  if (whole.length > 0 && whole.length === ids.length) return whole.map(Number);
  throw invalid(file, 'eos_token_id', 'a token id or a list of them', value);
}

function invalid(file: string, key: string, expected: string, got: unknown): TopKError {
  return new TopKError('INVALID_CONFIG', `${file}: bad ${key}`, {
    expected,
    got: got === undefined ? 'nothing' : JSON.stringify(got),
    fix: 'Use the file that belongs to the weights',
  });
}
