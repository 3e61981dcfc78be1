import { aNumber, describeValue, type OptionKinds, readOptions, TopKError } from '@topk-attention/core';
import { GraphBuilder } from '../onnx/graph-builder.js';
import type { ModelProto } from '../onnx/messages.js';
import { encodeModel } from '../onnx/write-model.js';
import { configOf, generationConfigOf } from './t5/config-files.js';
import { emitDecoder } from './t5/decoder.js';
import { emitEncoder } from './t5/encoder.js';
import type { ExportableT5, ExportedLayer } from './t5/exportable.js';
import type { Stack } from './t5/stack.js';
import { Weights } from './t5/weights.js';

export interface ExportOptions {
  /** Bytes of the scores and gathered values that a layer with k holds at once. Default: 32 MiB. */
  readonly chunkBytes?: number;
}

/** The files of an exported model by their paths in a Hugging Face folder, with `/` between folder and name. */
export type ExportedFiles = {
  readonly 'onnx/encoder_model.onnx': Uint8Array;
  readonly 'onnx/decoder_model_merged.onnx': Uint8Array;
  readonly 'config.json': Uint8Array;
  readonly 'generation_config.json': Uint8Array;
};

const exportKinds: OptionKinds<ExportOptions> = { chunkBytes: aNumber };

const DEFAULT_CHUNK_BYTES = 32 * 2 ** 20;
/** Operator set 20 has Gelu; ONNX Runtime reads it from 1.17 on. */
const OPSET = 20;
const IR_VERSION = 9;
/** What a file of this kind can hold, with room for its nodes. */
const MOST_BYTES = 2 ** 31 - 2 ** 24;

/**
 * A T5 as ONNX files of standard operators, in the layout of transformers.js and optimum: `onnx/encoder_model.onnx`,
 * `onnx/decoder_model_merged.onnx` (with and without a past), `config.json` and `generation_config.json`. Batch and lengths
 * are open; weights are f32.
 *
 * Layers are written as the model was loaded: exact ones as plain products, which `rewriteModel` can chunk; layers with k
 * as a selection, in the encoder in a loop over chunks of queries.
 *
 * @throws TopKError INVALID_OPTION; MISSING_WEIGHT; UNSUPPORTED for attention that is a function, and for files of 2 GiB or
 * more.
 *
 * @example
 * const model = await loadT5({ backend, source: 'model', encoder: { attention: { k: 64 } } });
 * const files = await exportOnnx(model);
 * console.log(Object.keys(files));
 */
export async function exportOnnx(model: ExportableT5, options?: ExportOptions): Promise<ExportedFiles> {
  const { chunkBytes = DEFAULT_CHUNK_BYTES } = readOptions('exportOnnx', options, exportKinds);
  checkModel(model);
  if (!Number.isSafeInteger(chunkBytes) || chunkBytes < 1) {
    throw new TopKError('INVALID_OPTION', 'exportOnnx: bad chunkBytes', {
      expected: 'a positive whole number',
      got: describeValue(chunkBytes),
    });
  }
  const { config, parameters, layerChoices: layers } = model;
  const weights = await Weights.read(parameters);
  const stack = (name: Stack['name']): Stack => {
    // Names are those of the parts, without a prefix.
    const onnx = new GraphBuilder('');
    return { onnx, name, config, weights, layers, chunkBytes };
  };
  return {
    'onnx/encoder_model.onnx': fileOf(stack('encoder'), emitEncoder),
    'onnx/decoder_model_merged.onnx': fileOf(stack('decoder'), emitDecoder),
    'config.json': jsonOf(configOf(config)),
    'generation_config.json': jsonOf(generationConfigOf(config)),
  };
}

function fileOf(stack: Stack, emit: (stack: Stack) => void): Uint8Array {
  emit(stack);
  const graph = stack.onnx.finish();
  const bytes = graph.initializer.reduce((sum, { rawData }) => sum + (rawData?.byteLength ?? 0), 0);
  if (bytes > MOST_BYTES) {
    throw new TopKError('UNSUPPORTED', `exportOnnx: the ${stack.name} is too large for one file`, {
      expected: `at most ${MOST_BYTES} bytes of weights`,
      got: `${bytes}`,
    });
  }
  const model: ModelProto = {
    irVersion: IR_VERSION,
    producerName: 'topk-attention',
    graph: { ...graph, name: stack.name },
    opsetImport: [{ domain: '', version: OPSET }],
  };
  return encodeModel(model);
}

function jsonOf(content: object): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(content, undefined, 2)}\n`);
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
