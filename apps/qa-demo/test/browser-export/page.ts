// Runs in the page: the embedded model is exported and rewritten here, and the files answer on onnxruntime-web's wasm.
import { createReferenceBackend } from '@topk-attention/core/reference';
import { loadT5 } from '@topk-attention/models';
import { exportOnnx, readExported } from '@topk-attention/onnxruntime/export';
import * as ort from 'onnxruntime-web/wasm';
import { ExportedT5 } from '../export/exported-t5.js';
import { rewritten } from '../export/rewritten.js';

type Files = Awaited<ReturnType<typeof readExported>>;

/** Ids of the answers to each prompt, by how the files were made. */
export type PageAnswers = Readonly<
  Record<'exported' | 'exact' | 'k' | 'exportedWithK' | 'half', readonly (readonly number[])[]>
>;

/** Fewer hidden units than there are. */
const FEED_FORWARD_K = 128;

async function answerFromFiles(
  wasmPaths: string,
  model: string,
  prompts: readonly (readonly number[])[],
  k: number,
  maxNewTokens: number,
): Promise<PageAnswers> {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = wasmPaths;
  const answers = async (files: Files): Promise<readonly (readonly number[])[]> => {
    const t5 = await ExportedT5.open(ort, files);
    const all: (readonly number[])[] = [];
    for (const prompt of prompts) all.push(await t5.generate(prompt, maxNewTokens));
    await t5.release();
    return all;
  };
  const source = await loadT5({ backend: createReferenceBackend(), source: model });
  const files = await readExported(await exportOnnx(source));
  const { config, parameters } = source;
  const layer = { attention: { k }, crossAttention: { k }, feedForward: { k: FEED_FORWARD_K } };
  const layerChoices = Object.fromEntries(Object.keys(source.layerChoices).map((path) => [path, layer]));
  const withK = await readExported(await exportOnnx({ config, parameters, layerChoices }));
  const half = await readExported(await exportOnnx(source, { dtype: 'float16', externalData: true }));
  source.dispose();
  return {
    exported: await answers(files),
    exact: await answers(rewritten(files, { attention: 'exact', feedForward: 'chunked', strict: true })),
    k: await answers(rewritten(files, { attention: { k }, strict: true })),
    exportedWithK: await answers(withK),
    half: await answers(half),
  };
}

Object.assign(globalThis, { answerFromFiles });
