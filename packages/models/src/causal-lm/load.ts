import { readOptions } from '@topk-attention/core';
import { type FileSource, type ParameterTree, toFileSource } from '@topk-attention/nn';
import { readConfig } from '../checkpoint/config-reader.js';
import { loadCheckpointKinds } from '../checkpoint/load-options.js';
import { readParameters } from '../checkpoint/read-parameters.js';
import { readTokenizer } from '../checkpoint/read-tokenizer.js';
import { checkSpecialIds } from '../checkpoint/special-ids.js';
import { checkStackChoices } from '../choices.js';
import { defaultsOf } from '../generation/generation-config.js';
import { readConfigs } from '../generation/read-configs.js';
import { blockPaths, type CausalLMConfig, readSpecialIds } from './config.js';
import { CausalLM } from './model.js';
import { type LoadCausalLMOptions, type LoadCausalLMParametersOptions, loadKinds } from './options.js';
import { parseCausalLMConfig } from './parse-config.js';
import { causalLMParameterSpecs, isIgnorableWeight } from './weights.js';

/** A decoder-only model as data: what `causalLMForward` applies. */
export interface CausalLMCheckpoint {
  readonly config: CausalLMConfig;
  /** f32 tensors by their Hugging Face names; linear layers are [in, out]. The caller disposes of them. */
  readonly parameters: ParameterTree;
}

/**
 * A decoder-only model from a Hugging Face folder, by the `model_type` of its config.json: gpt2, llama (SmolLM, TinyLlama),
 * mistral, qwen2, qwen3. Configuration, tokenizer and the names, dtypes and shapes of all weights are checked before the
 * first weight is uploaded; on failure nothing stays on the backend.
 *
 * @throws TopKError FILE_NOT_FOUND, FILE_TRUNCATED, FILE_CORRUPT, UNKNOWN_MODEL_TYPE, INVALID_CONFIG, UNSUPPORTED (sliding
 * windows, other scalings of rotary positions), MISSING_WEIGHT, EXTRA_WEIGHT, SHAPE_MISMATCH, DTYPE_MISMATCH, INVALID_K,
 * INVALID_OPTION, ABORTED, OUT_OF_MEMORY.
 *
 * @example
 * const model = await loadCausalLM({ backend, source: './stories', attention: { k: 64 } });
 * const { text } = await model.generate('Once upon a time', { maxNewTokens: 8 });
 */
export async function loadCausalLM(options: LoadCausalLMOptions): Promise<CausalLM> {
  const given = readOptions('loadCausalLM', options, loadKinds);
  const {
    backend: _backend,
    source: place,
    tokenizer: isWanted = true,
    generationConfig,
    signal,
    onProgress: _,
    ...choices
  } = given;
  const source = toFileSource('loadCausalLM', place, signal);
  const { config, defaults } = await readConfigs(source, parseCausalLMConfig, withGenerationIds);
  checkStackChoices('loadCausalLM', choices, blockPaths(config));
  const tokenizer = isWanted ? await readTokenizer(source) : undefined;
  const parameters = await readWeights(source, config, given);
  const chosen = generationConfig === undefined ? defaults : defaultsOf(generationConfig);
  return new CausalLM(config, parameters, tokenizer, chosen, choices);
}

/**
 * Only the configuration and parameters of a decoder-only model, for training and other uses of `causalLMForward`;
 * `createCausalLM` makes a model of them.
 *
 * @throws TopKError as `loadCausalLM`
 *
 * @example
 * const { config, parameters } = await loadCausalLMParameters({ backend, source: './stories' });
 */
export async function loadCausalLMParameters(
  options: LoadCausalLMParametersOptions,
): Promise<CausalLMCheckpoint> {
  const given = readOptions('loadCausalLMParameters', options, loadCheckpointKinds);
  const source = toFileSource('loadCausalLMParameters', given.source, given.signal);
  const { config } = await readConfigs(source, parseCausalLMConfig, withGenerationIds);
  return { config, parameters: await readWeights(source, config, given) };
}

/** Newer checkpoints keep their special ids in generation_config.json: they win, as in transformers. */
function withGenerationIds(config: CausalLMConfig, text: string, file: string): CausalLMConfig {
  const read = readConfig(text, file);
  const ids = readSpecialIds(read, config.eosIds);
  const merged = {
    ...config,
    ...ids,
    padId: read.value('pad_token_id') === undefined ? config.padId : ids.padId,
  };
  checkSpecialIds(merged, read);
  return merged;
}

function readWeights(
  source: FileSource,
  config: CausalLMConfig,
  given: LoadCausalLMParametersOptions,
): Promise<ParameterTree> {
  return readParameters(source, causalLMParameterSpecs(config), isIgnorableWeight, given);
}
