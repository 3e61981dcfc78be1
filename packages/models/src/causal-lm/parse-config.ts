import { TopKError } from '@topk-attention/core';
import { type ConfigReader, readConfig } from '../checkpoint/config-reader.js';
import { checkSpecialIds } from '../checkpoint/special-ids.js';
import type { CausalLMConfig } from './config.js';
import { readGpt2Config } from './gpt2-config.js';
import { readLlamaConfig } from './llama-config.js';

/** By `model_type`. SmolLM and TinyLlama are 'llama'. */
const readers: { readonly [modelType: string]: (read: ConfigReader, file: string) => CausalLMConfig } = {
  gpt2: readGpt2Config,
  llama: readLlamaConfig,
  mistral: readLlamaConfig,
  qwen2: readLlamaConfig,
  qwen3: readLlamaConfig,
};

/** The `model_type`s that `loadCausalLM` loads. */
export const causalLMTypes: readonly string[] = Object.keys(readers);

/**
 * Reads the contents of a config.json.
 *
 * @throws TopKError FILE_CORRUPT when it is not a JSON object, UNKNOWN_MODEL_TYPE, INVALID_CONFIG for a missing or impossible
 * value, UNSUPPORTED for a part of an architecture that is not implemented, such as a sliding window.
 */
export function parseCausalLMConfig(text: string, file = 'config.json'): CausalLMConfig {
  const read = readConfig(text, file);
  const type = read.value('model_type');
  const known = typeof type === 'string' && Object.hasOwn(readers, type) ? readers[type] : undefined;
  if (known === undefined) {
    throw new TopKError('UNKNOWN_MODEL_TYPE', `${file}: unknown model_type`, {
      expected: Object.keys(readers)
        .map((name) => `"${name}"`)
        .join(', '),
      got: JSON.stringify(type),
      fix: 'Load a decoder-only checkpoint of one of these families',
    });
  }
  const config = known(read, file);
  checkSpecialIds(config, read);
  return config;
}
