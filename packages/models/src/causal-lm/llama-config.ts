import { type ConfigReader, MOST_LAYERS } from '../checkpoint/config-reader.js';
import { type CausalLMConfig, readActivation, readSpecialIds, requireGroups, unsupported } from './config.js';
import { readRotary } from './rotary-config.js';

/** What transformers assumes where a config.json of that type says nothing, and what the type always has. */
interface TypeDefaults {
  readonly keyValueHeads?: number;
  /** Default: hidden_size / num_attention_heads. */
  readonly headDim?: number;
  readonly maxPositions: number;
  readonly eosIds: readonly number[];
  /** Of queries, keys and values; undefined: as `attention_bias` says, for the output projection too. */
  readonly inputBias?: boolean;
  readonly headNorms?: boolean;
  /** Whether a window is in use only if `use_sliding_window` says so. */
  readonly windowSwitch?: boolean;
  readonly window?: number;
}

const types: { readonly [modelType: string]: TypeDefaults } = {
  llama: { maxPositions: 2048, eosIds: [2] },
  mistral: { maxPositions: 131_072, eosIds: [2], keyValueHeads: 8, inputBias: false, window: 4096 },
  qwen2: { maxPositions: 32_768, eosIds: [], keyValueHeads: 32, inputBias: true, windowSwitch: true },
  qwen3: {
    maxPositions: 32_768,
    eosIds: [],
    keyValueHeads: 32,
    headDim: 128,
    headNorms: true,
    windowSwitch: true,
  },
};

/** Llama and the families that differ from it in a few settings: RMS norms, rotary positions, gated feed-forward layers. */
export function readLlamaConfig(read: ConfigReader, file: string): CausalLMConfig {
  const type = types[String(read.value('model_type'))] as TypeDefaults;
  refuseVariants(read, file, type);
  const dModel = read.whole('hidden_size', 1);
  const heads = read.whole('num_attention_heads', 1);
  const headDim = read.whole('head_dim', 1, type.headDim ?? Math.floor(dModel / heads));
  // A file that says null means as many as query heads, one that says nothing the default of its type.
  const ofType = read.value('num_key_value_heads') === null ? heads : (type.keyValueHeads ?? heads);
  const keyValueHeads = read.whole('num_key_value_heads', 1, ofType);
  requireGroups(read, 'num_key_value_heads', heads, keyValueHeads);
  if (headDim % 2 !== 0) throw read.invalid('head_dim', 'an even width, for rotary positions', headDim);
  const maxPositions = read.whole('max_position_embeddings', 1, type.maxPositions);
  const bias = type.inputBias === undefined && read.boolean('attention_bias', false);
  return {
    layout: 'llama',
    vocabSize: read.whole('vocab_size', 1),
    dModel,
    dFf: read.whole('intermediate_size', 1),
    layers: read.count('num_hidden_layers', MOST_LAYERS),
    heads,
    keyValueHeads,
    headDim,
    maxPositions,
    rotary: readRotary(read, file, maxPositions),
    norm: 'rmsNorm',
    epsilon: read.within('rms_norm_eps', 0, 1, 1e-6, true),
    activation: readActivation(read, 'hidden_act', 'silu'),
    attentionBias: { input: type.inputBias ?? bias, output: bias },
    headNorms: type.headNorms === true,
    scoreScale: { byWidth: true, byLayer: false },
    dropout: { embedding: 0, attention: read.within('attention_dropout', 0, 1, 0), residual: 0 },
    tiedEmbeddings: read.boolean('tie_word_embeddings', false),
    ...readSpecialIds(read, type.eosIds),
  };
}

/** @throws TopKError UNSUPPORTED for settings that change the arithmetic and are not implemented. */
function refuseVariants(read: ConfigReader, file: string, { windowSwitch, window }: TypeDefaults): void {
  if (read.boolean('mlp_bias', false)) {
    throw unsupported(file, 'mlp_bias', 'feed-forward layers without biases', true);
  }
  const mayHaveWindow = windowSwitch === true ? read.boolean('use_sliding_window', false) : true;
  const given = read.value('sliding_window');
  const width = given === undefined ? window : (given ?? undefined);
  if (mayHaveWindow && width !== undefined) {
    throw unsupported(file, 'sliding_window', 'attention over all earlier tokens (null)', width);
  }
  const kinds = read.value('layer_types');
  const other = Array.isArray(kinds) ? kinds.find((kind) => kind !== 'full_attention') : undefined;
  if (other !== undefined) throw unsupported(file, 'layer_types', 'only "full_attention"', other);
}
