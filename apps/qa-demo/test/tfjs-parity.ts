// T5 and encoders on one engine of TensorFlow.js. tf has one engine a process, so every engine has a test file of its own.
import { fileURLToPath } from 'node:url';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { type LayerChoices, loadT5 } from '@topk-attention/models';
import { createTfjsBackend, type Tf, type TfjsBackend } from '@topk-attention/tfjs';
import { type Availability, optional } from '@topk-attention/vitest-preset';
import { expect } from 'vitest';
import { checkEncoderModel, encoderGoldens } from './encoder-checks.js';
import {
  checkEmbedded,
  checkForward,
  checkGeneration,
  forwardCases,
  goldenModels,
  hasGeneration,
} from './t5-checks.js';

const embedded = fileURLToPath(new URL('../model', import.meta.url));
const TIMEOUT_MILLISECONDS = 900_000;

/** Fewer keys and units than there are, so that they are chosen. */
const topK: LayerChoices = { attention: { k: 16 }, feedForward: { k: 64 } };

/** An engine that comes with this repository. */
export const always: Availability = { need: 'tfjs', available: true, reason: '' };

/** Parity with Python transformers on the engine that `load` registers; of the prompts, those of at most that many tokens. */
export function testT5(
  engine: string,
  available: Availability,
  load: () => Promise<Tf>,
  longestPrompt: number,
): void {
  let shared: Promise<{ tf: Tf; backend: TfjsBackend }> | undefined;
  const open = (): Promise<{ tf: Tf; backend: TfjsBackend }> => {
    shared ??= load().then(async (tf) => ({ tf, backend: await createTfjsBackend({ tf, engine }) }));
    return shared;
  };
  const check = (name: string, body: (backend: TfjsBackend) => Promise<void>): void => {
    const run = async (): Promise<void> => {
      const { tf, backend } = await open();
      const { numTensors } = tf.memory();
      await body(backend);
      expect(backend.memory().live).toBe(0);
      const left = tf.memory().numTensors - numTensors;
      // On wasm every width of a product has a vector of zeros, of which so many are kept.
      if (engine === 'wasm') expect(left).toBeLessThanOrEqual(64);
      else expect(left).toBe(0);
    };
    optional(`${name}, on tfjs ${engine}`, available, run, TIMEOUT_MILLISECONDS);
  };

  for (const golden of goldenModels) {
    check(`${golden.model}: encoder outputs and logits within 1e-4 of transformers`, (backend) =>
      checkForward(backend, golden, forwardCases(golden)),
    );
    if (!hasGeneration(golden)) continue;
    check(
      `${golden.model}: greedy ids are those of transformers, alone and in a batch; nothing else is read back`,
      (backend) => checkGeneration(backend, golden),
    );
  }

  for (const golden of encoderGoldens) {
    check(
      `${golden.model}: hidden states, heads and embeddings within 1e-4 of transformers, answers identical`,
      (backend) => checkEncoderModel(backend, golden),
    );
  }

  check(
    'the embedded model: logits within 1e-4 of transformers, exact answers theirs, top-k answers the reference backend’s',
    async (backend) => {
      const { model, maxNewTokens, prompts } = await checkEmbedded(backend, longestPrompt);
      const { prompt: shortest } = prompts[0] as { prompt: string };
      const reference = await loadT5({ backend: createReferenceBackend(), source: embedded });
      const wanted = await reference.generate(shortest, { maxNewTokens, ...topK });
      reference.dispose();
      const got = await model.generate(shortest, { maxNewTokens, ...topK });
      expect(got.text).toBe(wanted.text);
      model.dispose();
    },
  );
}
