import { readOptions } from '@topk-attention/core';
import { type FileSource, type ParameterTree, toFileSource } from '@topk-attention/nn';
import { loadCheckpointKinds } from '../checkpoint/load-options.js';
import { readParameters } from '../checkpoint/read-parameters.js';
import { readTokenizer } from '../checkpoint/read-tokenizer.js';
import { checkChoices } from '../choices.js';
import { defaultsOf } from '../generation/generation-config.js';
import { readConfigs } from '../generation/read-configs.js';
import { blockPaths, parseT5Config, type T5Config, withGenerationConfig } from './config.js';
import { T5 } from './model.js';
import { type LoadT5Options, type LoadT5ParametersOptions, loadKinds } from './options.js';
import { isIgnorableWeight, t5ParameterSpecs } from './weights.js';

/** A T5 as data: what `t5Forward` applies. */
export interface T5Checkpoint {
  readonly config: T5Config;
  /** f32 tensors by their Hugging Face names; linear layers are [in, out]. The caller disposes of them. */
  readonly parameters: ParameterTree;
}

/**
 * A T5 (v1.0, v1.1, Flan, mT5, ByT5) from a Hugging Face folder. Configuration, tokenizer and the names, dtypes and shapes of all
 * weights are checked before the first weight is uploaded; on failure nothing stays on the backend.
 *
 * @throws TopKError FILE_NOT_FOUND, FILE_TRUNCATED, FILE_CORRUPT, UNKNOWN_MODEL_TYPE, INVALID_CONFIG, MISSING_WEIGHT,
 * EXTRA_WEIGHT, SHAPE_MISMATCH, DTYPE_MISMATCH, INVALID_K, INVALID_OPTION, ABORTED, OUT_OF_MEMORY.
 *
 * @example
 * const model = await loadT5({ backend, source: './model', attention: { k: 64 }, feedForward: { k: 256 } });
 * const { text } = await model.generate('where is ann? \\n ann went to the garden.');
 */
export async function loadT5(options: LoadT5Options): Promise<T5> {
  const given = readOptions('loadT5', options, loadKinds);
  const {
    backend: _backend,
    source: place,
    tokenizer: isWanted = true,
    generationConfig,
    signal,
    onProgress: _,
    ...choices
  } = given;
  const source = toFileSource('loadT5', place, signal);
  const { config, defaults } = await readConfigs(source, parseT5Config, withGenerationConfig);
  checkChoices('loadT5', choices, blockPaths(config));
  const tokenizer = isWanted ? await readTokenizer(source) : undefined;
  const parameters = await readWeights(source, config, given);
  const chosen = generationConfig === undefined ? defaults : defaultsOf(generationConfig);
  return new T5(config, parameters, tokenizer, chosen, choices);
}

/**
 * Only the configuration and parameters of a T5, for training and other uses of `t5Forward`; `createT5` makes a model
 * of them.
 *
 * @throws TopKError as `loadT5`
 *
 * @example
 * const { config, parameters } = await loadT5Parameters({ backend, source: './model' });
 */
export async function loadT5Parameters(options: LoadT5ParametersOptions): Promise<T5Checkpoint> {
  const given = readOptions('loadT5Parameters', options, loadCheckpointKinds);
  const source = toFileSource('loadT5Parameters', given.source, given.signal);
  const { config } = await readConfigs(source, parseT5Config, withGenerationConfig);
  return { config, parameters: await readWeights(source, config, given) };
}

function readWeights(
  source: FileSource,
  config: T5Config,
  given: LoadT5ParametersOptions,
): Promise<ParameterTree> {
  return readParameters(source, t5ParameterSpecs(config), isIgnorableWeight, given);
}
