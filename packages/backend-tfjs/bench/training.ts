// `pnpm bench training --backend tfjs`: whole training steps on one engine of TensorFlow.js, next to torch on the CPU.
import { benchTraining } from '@topk-attention/bench-kit';
import { createTfjsBackend } from '@topk-attention/tfjs';
import { type EngineName, loadEngine } from './engines.js';

process.exit(
  await benchTraining('tfjs', ['wasm', 'node', 'cpu'], async (engine, threads) => {
    const { tf, description } = await loadEngine(engine as EngineName, threads);
    return { backend: await createTfjsBackend({ tf }), description };
  }),
);
