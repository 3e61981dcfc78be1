import { env, pipeline, type Text2TextGenerationPipeline } from '@huggingface/transformers';
// From node_modules; without it transformers.js asks a CDN.
import wasm from 'onnxruntime-web/ort-wasm-simd-threaded.asyncify.wasm?url';

env.allowRemoteModels = false;
env.allowLocalModels = true;
// A path: a whole address counts as remote.
env.localModelPath = new URL('models/', document.baseURI).pathname;
// Folders that `npm run models` makes again are read again.
env.useBrowserCache = false;
if (env.backends.onnx.wasm !== undefined) env.backends.onnx.wasm.wasmPaths = { wasm };

/** The pipeline of the last folder. Each holds its weights, so the one before is freed. */
let open: { readonly folder: string; readonly answer: Text2TextGenerationPipeline } | undefined;

/** What a model in a folder of `models/` answers to a question about a text, as UnifiedQA asks it. */
export async function answerFrom(folder: string, question: string, text: string): Promise<string> {
  if (open?.folder !== folder) {
    await open?.answer.dispose();
    open = undefined;
    // The device is wasm: on WebGPU the turns of a rewritten file's loops go through the CPU.
    open = { folder, answer: await pipeline('text2text-generation', folder, { device: 'wasm' }) };
  }
  const prompt = `${question} \\n ${text.replace(/\s+/g, ' ')}`.toLowerCase();
  const [made] = await open.answer(prompt, { max_new_tokens: 20 });
  return made !== undefined && 'generated_text' in made ? made.generated_text : '';
}
