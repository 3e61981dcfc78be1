// Runs in the page: the embedded model answers on WebGPU, exact and top-k.
import { loadT5 } from '@topk-attention/models';
import { createWebGpuBackend } from '@topk-attention/webgpu';

export interface PageAnswers {
  readonly adapter: string;
  readonly exact: string;
  readonly topK: string;
  readonly attentionK: number;
  readonly feedForwardK: number;
  readonly plan: string;
  readonly live: number;
}

/** Fewer keys and units than there are, so that they are chosen. */
const topK = { attention: { k: 16 }, feedForward: { k: 64 } };

async function answerOnWebGpu(model: string, prompt: string, maxNewTokens: number): Promise<PageAnswers> {
  const backend = await createWebGpuBackend({ onWarning: () => {} });
  const { vendor, architecture, description } = backend.facts;
  const t5 = await loadT5({ backend, source: model });
  const exactAnswer = await t5.generate(prompt, { maxNewTokens });
  const topKAnswer = await t5.generate(prompt, { maxNewTokens, ...topK });
  const [first] = t5.explain({ ...topK, sourceLength: 64 });
  t5.dispose();
  const { live } = backend.memory();
  await backend.dispose();
  return {
    adapter: `${vendor} ${architecture} ${description}`,
    exact: exactAnswer.text,
    topK: topKAnswer.text,
    attentionK: topK.attention.k,
    feedForwardK: topK.feedForward.k,
    plan: String(first?.explanation),
    live,
  };
}

Object.assign(globalThis, { answerOnWebGpu });
