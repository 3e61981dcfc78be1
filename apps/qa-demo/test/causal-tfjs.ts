// Decoder-only models on one engine of TensorFlow.js. tf has one engine a process, so every engine has a test file of its own.
import { createTfjsBackend, type Tf, type TfjsBackend } from '@topk-attention/tfjs';
import { test } from 'vitest';
import { causalModels, checkCausal, checkStories, type StoriesCheck } from './causal-checks.js';

const TIMEOUT_MILLISECONDS = 900_000;

/** Parity with Python transformers on an engine that is registered with `tf`. */
export function testCausal(engine: string, tf: Tf, models: readonly string[], stories: StoriesCheck): void {
  let shared: Promise<TfjsBackend> | undefined;
  const check = (name: string, body: (backend: TfjsBackend) => Promise<void>): void => {
    const run = async (): Promise<void> => {
      shared ??= createTfjsBackend({ tf, engine });
      await body(await shared);
    };
    test(`${name}, on tfjs ${engine}`, run, TIMEOUT_MILLISECONDS);
  };
  for (const golden of causalModels(models)) {
    check(`${golden.model}: logits within 1e-4 of transformers, greedy ids identical`, (backend) =>
      checkCausal(backend, golden),
    );
  }
  check('stories260K: its text, and its perplexity against k', (backend) => checkStories(backend, stories));
}
