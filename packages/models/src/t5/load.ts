import { readOptions, TopKError } from '@topk-attention/core';
import { loadParameters, openSafetensors, openShards, type TensorReader } from '@topk-attention/nn';
import { type FileSource, readOptionalText, readText, toFileSource } from '../files/file-source.js';
import { checkChoices, type LayerChoices } from '../layer-choice.js';
import { createTokenizer, type TextTokenizer } from '../text/tokenizer.js';
import { parseT5Config } from './config.js';
import { T5Model } from './model.js';
import { loadKinds } from './option-kinds.js';
import type { LoadT5Options, T5 } from './t5.js';
import { isIgnorableWeight, t5ParameterSpecs, t5Weights } from './weights.js';

const WEIGHTS = 'model.safetensors';
const INDEX = 'model.safetensors.index.json';

/**
 * A T5 (v1.0 or v1.1) from a Hugging Face folder. Configuration, tokenizer and the names, dtypes and shapes of all
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
  const { backend, signal, onProgress } = readOptions('loadT5', options, loadKinds);
  const source = toFileSource(options.source, signal);
  const config = parseT5Config(
    await readText(source, 'config.json', 'Name the folder of a Hugging Face checkpoint'),
    `${source.name}: config.json`,
  );
  const choices: LayerChoices = options;
  checkChoices('loadT5', choices, { encoder: config.encoderLayers, decoder: config.decoderLayers });
  const tokenizer = options.tokenizer === false ? undefined : await readTokenizer(source);
  const reader = await openWeights(source);
  try {
    const parameters = await loadParameters(backend, reader, t5ParameterSpecs(config), {
      ignores: isIgnorableWeight,
      ...(signal && { signal }),
      ...(onProgress && { onProgress: (done, total) => onProgress({ stage: 'load', done, total }) }),
    });
    return new T5Model(backend, config, t5Weights(config, parameters), tokenizer, choices);
  } finally {
    await reader.close();
  }
}

async function readTokenizer(source: FileSource): Promise<TextTokenizer> {
  const definition = await readText(
    source,
    'tokenizer.json',
    'Save it with AutoTokenizer.from_pretrained(...).save_pretrained(...), or pass tokenizer: false to work with token ids',
  );
  return createTokenizer(definition, await readOptionalText(source, 'tokenizer_config.json'));
}

async function openWeights(source: FileSource): Promise<TensorReader> {
  const whole = await source.open(WEIGHTS);
  if (whole !== undefined) return openSafetensors(whole);
  const index = await readOptionalText(source, INDEX);
  if (index !== undefined) {
    return openShards(`${source.name}: ${INDEX}`, index, async (file) => {
      const shard = await source.open(file);
      if (shard !== undefined) return shard;
      throw notFound(source, file, 'Download every shard of the checkpoint');
    });
  }
  throw notFound(
    source,
    WEIGHTS,
    'Save the checkpoint with safe_serialization=True; .bin files are not read',
  );
}

function notFound(source: FileSource, file: string, fix: string): TopKError {
  return new TopKError('FILE_NOT_FOUND', `${source.name}: no ${file}`, {
    expected: file,
    got: 'nothing',
    fix,
  });
}
