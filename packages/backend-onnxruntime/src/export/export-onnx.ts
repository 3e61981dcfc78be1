import {
  aBoolean,
  aNumber,
  describeValue,
  either,
  type OptionKinds,
  oneOf,
  readOptions,
  TopKError,
} from '@topk-attention/core';
import { GraphBuilder } from '../onnx/graph-builder.js';
import { type ExportedFile, exportedFile } from './exported-file.js';
import { type ExternalData, type ModelFiles, modelFiles } from './model-files.js';
import { configOf, type FilesSettings, generationConfigOf } from './t5/config-files.js';
import { emitDecoder } from './t5/decoder.js';
import { emitEncoder } from './t5/encoder.js';
import type { ExportableT5, ExportedLayer } from './t5/exportable.js';
import type { Stack } from './t5/stack.js';
import { Weights } from './t5/weights.js';

export interface ExportOptions {
  /** Bytes of the scores and gathered values that a layer with k holds at once. Default: 32 MiB. */
  readonly chunkBytes?: number;
  /**
   * The type of weights, and of the products with them. `'float16'` halves the files and the past; the engine must
   * multiply in half precision for it to be quicker, which CPUs mostly do not. Default: `'float32'`.
   */
  readonly dtype?: 'float32' | 'float16';
  /**
   * Whether weights lie in files beside the model, `NAME.onnx_data`, and from 2 GiB on `NAME.onnx_data_1` and so on.
   * Default: `'auto'`, where a model would reach 2 GiB with its weights.
   */
  readonly externalData?: ExternalData;
}

/**
 * The files of an exported model by their paths in a Hugging Face folder, with `/` between folder and name. The encoder
 * comes first.
 */
export type ExportedFiles = { readonly [path: string]: ExportedFile };

const exportKinds: OptionKinds<ExportOptions> = {
  chunkBytes: aNumber,
  dtype: oneOf('float32', 'float16'),
  externalData: either(aBoolean, oneOf('auto')),
};

const DEFAULT_CHUNK_BYTES = 32 * 2 ** 20;

/**
 * A T5 as ONNX files of standard operators, in the layout of transformers.js and optimum: `onnx/encoder_model.onnx`,
 * `onnx/decoder_model_merged.onnx` (with and without a past), `config.json` and `generation_config.json`. With
 * `dtype: 'float16'` the models are `onnx/encoder_model_fp16.onnx` and `onnx/decoder_model_merged_fp16.onnx`. Batch and
 * lengths are open. Ids and masks are i64; the encoder's output and the logits are f32, and the past is of the dtype.
 *
 * Layers are written as the model was loaded: exact ones as plain products, which `rewriteModel` can chunk; layers with k
 * as a selection, in the encoder in a loop over chunks of queries.
 *
 * Weights are read from the model when a file is read: keep the model until `writeExported` or `readExported` is done.
 *
 * @throws TopKError INVALID_OPTION; MISSING_WEIGHT; UNSUPPORTED for attention that is a function, and with
 * `externalData: false` for a model of 2 GiB or more.
 *
 * @example
 * const model = await loadT5({ backend, source: 'model', encoder: { attention: { k: 64 } } });
 * const files = await exportOnnx(model);
 * console.log(Object.keys(files));
 */
export async function exportOnnx(model: ExportableT5, options?: ExportOptions): Promise<ExportedFiles> {
  const given = readOptions('exportOnnx', options, exportKinds);
  const { chunkBytes = DEFAULT_CHUNK_BYTES, dtype = 'float32', externalData = 'auto' } = given;
  checkModel(model);
  if (!Number.isSafeInteger(chunkBytes) || chunkBytes < 1) {
    throw new TopKError('INVALID_OPTION', 'exportOnnx: bad chunkBytes', {
      expected: 'a positive whole number',
      got: describeValue(chunkBytes),
    });
  }
  const { config, parameters, layerChoices: layers } = model;
  const isHalf = dtype === 'float16';
  const weights = new Weights(parameters);
  const made = async (
    name: Stack['name'],
    file: string,
    emit: (stack: Stack) => void,
  ): Promise<ModelFiles> => {
    const biases = await weights.numbers(
      `${name}.block.0.layer.0.SelfAttention.relative_attention_bias.weight`,
    );
    // Names are those of the parts, without a prefix.
    const onnx = new GraphBuilder('');
    emit({ onnx, name, config, weights, type: isHalf ? 'f16' : 'f32', biases, layers, chunkBytes });
    const fileName = `${file}${isHalf ? '_fp16' : ''}.onnx`;
    return modelFiles(
      fileName,
      { ...onnx.finish(), name },
      (tensor) => weights.bytesOf(tensor),
      externalData,
    );
  };
  const models = [
    await made('encoder', 'encoder_model', emitEncoder),
    await made('decoder', 'decoder_model_merged', emitDecoder),
  ];
  const inFolder = models.flatMap(({ files }) =>
    Object.entries(files).map(([name, file]) => [`onnx/${name}`, file] as const),
  );
  return {
    ...Object.fromEntries(inFolder),
    'config.json': jsonOf(configOf(config, settingsOf(models, isHalf))),
    'generation_config.json': jsonOf(generationConfigOf(config)),
  };
}

function settingsOf(models: readonly ModelFiles[], isHalf: boolean): FilesSettings {
  const counts = models.flatMap(({ name, dataFiles }) =>
    dataFiles === 0 ? [] : [[name, dataFiles] as const],
  );
  return {
    // Without it transformers.js looks for files of 8-bit weights.
    dtype: isHalf ? 'fp16' : 'fp32',
    ...(isHalf && { kv_cache_dtype: { fp16: 'float16' } }),
    ...(counts.length > 0 && { use_external_data_format: Object.fromEntries(counts) }),
  };
}

function jsonOf(content: object): ExportedFile {
  return exportedFile([new TextEncoder().encode(`${JSON.stringify(content, undefined, 2)}\n`)]);
}

/** @throws TopKError INVALID_OPTION, UNSUPPORTED */
function checkModel(model: ExportableT5): void {
  const isModel = typeof model === 'object' && model !== null && 'config' in model && 'layerChoices' in model;
  if (!isModel) {
    throw new TopKError('INVALID_OPTION', 'exportOnnx: not a model', {
      expected: 'a T5 as loadT5 or createT5 makes it',
      got: describeValue(model),
    });
  }
  for (const [path, layer] of Object.entries<ExportedLayer>(model.layerChoices)) {
    for (const name of ['attention', 'crossAttention'] as const) {
      if (typeof layer[name] !== 'function') continue;
      throw new TopKError('UNSUPPORTED', `exportOnnx: the ${name} of ${path} is a function`, {
        expected: "'exact' or { k }",
        fix: 'Load the model with attention that has a name',
      });
    }
  }
}
