import { createOnnxRuntimeBackend, type OnnxRuntimeBackend } from '@topk-attention/onnxruntime';
import { afterAll, beforeAll, test } from 'vitest';
import { causalModels, checkCausal, checkStories } from './causal-checks.js';

let backend: OnnxRuntimeBackend;

beforeAll(async () => {
  backend = await createOnnxRuntimeBackend({ threads: 1 });
});
afterAll(() => backend.dispose());

for (const golden of causalModels()) {
  test(`${golden.model} on ONNX Runtime: logits within 1e-4 of transformers, greedy ids identical`, () =>
    checkCausal(backend, golden));
}

test('stories260K on ONNX Runtime: its text, and its perplexity against k', () =>
  checkStories(backend, { newTokens: 60, isWhole: true, kept: [64, 32, 16, 8, 4, 2, 1], units: [64, 16] }));
