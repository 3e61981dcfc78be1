import { existsSync } from 'node:fs';
import { textTable } from '@topk-attention/app-kit';
import {
  Command,
  type CommandUnknownOpts,
  type Io,
  Option,
  print,
  shownPath,
} from '@topk-attention/app-kit/node';
import { formatBytes, TopKError } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { type LayerChoices, loadT5 } from '@topk-attention/models';
import {
  type ExportOptions,
  exportOnnx,
  type FilesByPath,
  writeExported,
} from '@topk-attention/onnxruntime/export';
import { rewriteModel } from '@topk-attention/onnxruntime/rewrite';
import { modelFolder } from '../engine/model-folder.js';
import { choiceOf, type Kept } from '../engine/protocol.js';
import { kept } from './kept-values.js';

/** The encoder's model, in either dtype. */
const ENCODER = /^onnx\/encoder_model.*\.onnx$/;

const notes = `
Writes onnx/encoder_model.onnx, onnx/decoder_model_merged.onnx, the configuration and the tokenizer: the layout of
transformers.js and optimum. Layers with k are a selection in the file; exact ones are plain products, which --chunked
and \`topk-onnx rewrite\` turn into a loop over chunks of queries.

--dtype float16 halves the files (encoder_model_fp16.onnx, ...). It is for downloads and GPUs: on most CPUs ONNX Runtime
multiplies in float32 all the same. A model that would reach 2 GiB gets its weights in files beside it
(encoder_model.onnx_data, ...), as every model does with --external-data.

Examples:
  pnpm qa export models/exact --chunked
  pnpm qa export models/half --dtype float16
  pnpm qa export models/k64 --attention-k 64 --json`;

type Dtype = NonNullable<ExportOptions['dtype']>;

type Flags = {
  json?: true;
  model: string;
  attentionK: Kept;
  feedForwardK: Kept;
  chunked?: true;
  dtype: Dtype;
  externalData?: true;
};

/** `export`: a T5 as a folder of ONNX files. */
export function exportCommand(io: Io): CommandUnknownOpts {
  return new Command('export')
    .summary('writes a model as ONNX files')
    .description('Writes a T5 as a folder of ONNX files, with its layers exact or top-k.')
    .usage('DIR [options]')
    .argument('<DIR>', 'the folder to write; nothing may be there yet')
    .option('--json', 'print one JSON object on standard output, errors included')
    .option('--model <embedded|DIR>', 'the included model, or a Hugging Face folder of a T5', 'embedded')
    .option('--attention-k <N|exact>', 'keys that each query keeps', kept, 'exact' as Kept)
    .option('--feed-forward-k <N|exact>', 'hidden units that each token keeps', kept, 'exact' as Kept)
    .option('--chunked', 'the encoder in chunks: the same function in less memory')
    .addOption(
      new Option('--dtype <TYPE>', 'the type of weights and products')
        .choices(['float32', 'float16'] as const)
        .default('float32' as Dtype),
    )
    .option('--external-data', 'weights in files beside each model')
    .addHelpText('after', notes)
    .action((folder, options) => exportModel(folder, options, io));
}

async function exportModel(folder: string, options: Flags, io: Io): Promise<void> {
  const checkpoint = modelFolder(options.model);
  // Before a large model is read for nothing.
  if (existsSync(folder)) {
    throw new TopKError('INVALID_OPTION', `${folder} is there already`, {
      expected: 'a path of nothing',
      fix: 'Name another folder, or remove this one first',
    });
  }
  const { attentionK, feedForwardK, dtype, externalData = 'auto', chunked: isChunked = false } = options;
  const choices: LayerChoices = { attention: choiceOf(attentionK), feedForward: choiceOf(feedForwardK) };
  // Weights are only read, so no engine is needed.
  const backend = createReferenceBackend();
  const model = await loadT5({
    ...{ backend, source: checkpoint, tokenizer: false, signal: io.signal },
    ...choices,
  });
  const exported = await exportOnnx(model, { dtype, externalData });
  const files = isChunked ? await chunked(exported) : exported;
  const written = await writeExported(files, folder, { checkpoint });
  model.dispose();
  if (options.json) {
    print(
      io,
      JSON.stringify({ folder, attentionK, feedForwardK, dtype, chunked: isChunked, files: written }),
    );
    return;
  }
  const rows = Object.entries(written).map(([file, bytes]) => [file, formatBytes(bytes)]);
  print(io, textTable({ columns: [{ title: shownPath(folder) }, { title: '', align: 'right' }], rows }));
}

/** A decoder has one query at a time, so chunks would save nothing there. */
async function chunked(files: FilesByPath): Promise<FilesByPath> {
  const made: { [path: string]: FilesByPath[string] } = { ...files };
  for (const [path, file] of Object.entries(files)) {
    if (!ENCODER.test(path)) continue;
    const bytes = file instanceof Uint8Array ? file : await file.bytes();
    made[path] = rewriteModel(bytes, { feedForward: 'chunked' }).model;
  }
  return made;
}
