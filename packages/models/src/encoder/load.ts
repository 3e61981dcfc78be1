import { readOptions } from '@topk-attention/core';
import { type FileSource, type ParameterTree, readText, toFileSource } from '@topk-attention/nn';
import { CONFIG } from '../checkpoint/files.js';
import { readParameters } from '../checkpoint/read-parameters.js';
import { readTokenizer } from '../checkpoint/read-tokenizer.js';
import { checkStackChoices } from '../choices.js';
import { type EncoderConfig, encoderPaths, parseEncoderConfig } from './config.js';
import { Encoder } from './model.js';
import {
  type LoadEncoderOptions,
  type LoadEncoderParametersOptions,
  loadKinds,
  loadParametersKinds,
} from './options.js';
import type { EncoderTask } from './task.js';
import { encoderParameterSpecs, isIgnorableWeight } from './weights.js';

/** An encoder as data: what `encoderForward` and `encoderLogits` apply. */
export interface EncoderCheckpoint {
  readonly config: EncoderConfig;
  /** f32 tensors by their Hugging Face names; linear layers are [in, out]. The caller disposes of them. */
  readonly parameters: ParameterTree;
}

/**
 * A BERT, DistilBERT or RoBERTa (also XLM-RoBERTa and CamemBERT) from a Hugging Face folder, with the head that its
 * config.json names or `task` asks for. Configuration, tokenizer and the names, dtypes and shapes of all weights are checked
 * before the first weight is uploaded; on failure nothing stays on the backend.
 *
 * @throws TopKError FILE_NOT_FOUND, FILE_TRUNCATED, FILE_CORRUPT, UNKNOWN_MODEL_TYPE, UNSUPPORTED for a head that is not
 * there, INVALID_CONFIG, MISSING_WEIGHT, EXTRA_WEIGHT, SHAPE_MISMATCH, DTYPE_MISMATCH, INVALID_K, INVALID_OPTION, ABORTED,
 * OUT_OF_MEMORY.
 *
 * @example
 * const model = await loadEncoder({ backend, source: 'encoder', attention: { k: 64 } });
 * const [answer] = await model.answer({ question: 'Where is Mary?', context: 'Mary is in the garden.' });
 */
export async function loadEncoder(options: LoadEncoderOptions): Promise<Encoder> {
  const given = readOptions('loadEncoder', options, loadKinds);
  const {
    backend: _backend,
    source: place,
    tokenizer: isWanted = true,
    task,
    signal,
    onProgress: _,
    ...choices
  } = given;
  const source = toFileSource('loadEncoder', place, signal);
  const config = await readConfigFile(source, task);
  checkStackChoices('loadEncoder', choices, encoderPaths(config));
  const tokenizer = isWanted ? await readTokenizer(source) : undefined;
  const parameters = await readParameters(source, encoderParameterSpecs(config), isIgnorableWeight, given);
  return new Encoder(config, parameters, tokenizer, choices);
}

/**
 * Only the configuration and parameters of an encoder, for training and other uses of `encoderForward` and `encoderLogits`;
 * `createEncoder` makes a model of them.
 *
 * @throws TopKError as `loadEncoder`
 *
 * @example
 * const { config, parameters } = await loadEncoderParameters({ backend, source: 'encoder' });
 */
export async function loadEncoderParameters(
  options: LoadEncoderParametersOptions,
): Promise<EncoderCheckpoint> {
  const given = readOptions('loadEncoderParameters', options, loadParametersKinds);
  const source = toFileSource('loadEncoderParameters', given.source, given.signal);
  const config = await readConfigFile(source, given.task);
  const parameters = await readParameters(source, encoderParameterSpecs(config), isIgnorableWeight, given);
  return { config, parameters };
}

async function readConfigFile(source: FileSource, task: EncoderTask | undefined): Promise<EncoderConfig> {
  const text = await readText(source, CONFIG, 'Name the folder of a Hugging Face checkpoint');
  return parseEncoderConfig(text, { ...(task && { task }), file: `${source.name}: ${CONFIG}` });
}
