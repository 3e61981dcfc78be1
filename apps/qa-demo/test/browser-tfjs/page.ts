// Runs in the page: the embedded model answers on tfjs's wasm engine, exact and top-k.
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs-core';
import { type GenerateOptions, loadT5 } from '@topk-attention/models';
import { createTfjsBackend } from '@topk-attention/tfjs';

export interface PageAnswers {
  readonly engine: string;
  readonly exact: string;
  readonly topK: string;
  readonly attentionK: number;
  readonly feedForwardK: number;
  /** Elements that were read back for both answers, and the tokens of both. */
  readonly readElements: number;
  readonly tokens: number;
  readonly live: number;
  readonly tensorsLeft: number;
}

/** Fewer keys and units than there are, so that they are chosen. */
const topK = { attention: { k: 16 }, feedForward: { k: 64 } };

async function answerOnTfjs(
  wasm: string,
  model: string,
  prompt: string,
  maxNewTokens: number,
): Promise<PageAnswers> {
  setWasmPaths(wasm);
  const backend = await createTfjsBackend({ tf, engine: 'wasm' });
  let readElements = 0;
  const read = backend.read.bind(backend);
  Object.defineProperty(backend, 'read', {
    value: (x: Parameters<typeof read>[0]) => {
      readElements += x.shape.reduce((product, extent) => product * extent, 1);
      return read(x);
    },
  });
  const t5 = await loadT5({ backend, source: model });
  const answer = (options: GenerateOptions): ReturnType<typeof t5.generate> =>
    t5.generate(prompt, { maxNewTokens, ...options });
  const exactAnswer = await answer({});
  const topKAnswer = await answer(topK);
  t5.dispose();
  return {
    engine: tf.getBackend(),
    exact: exactAnswer.text,
    topK: topKAnswer.text,
    attentionK: topK.attention.k,
    feedForwardK: topK.feedForward.k,
    readElements,
    tokens: exactAnswer.ids.length + topKAnswer.ids.length,
    live: backend.memory().live,
    tensorsLeft: tf.memory().numTensors,
  };
}

Object.assign(globalThis, { answerOnTfjs });
