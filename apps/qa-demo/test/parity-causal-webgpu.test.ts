import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { createWebGpuBackend, type WebGpuBackend } from '@topk-attention/webgpu';
import { afterAll } from 'vitest';
import { causalModels, checkCausal, checkStories } from './causal-checks.js';

const available = softwareGpuAvailability();
/** The software GPU takes its time. */
const TIMEOUT_MILLISECONDS = 900_000;

let shared: Promise<WebGpuBackend> | undefined;

/** One for all tests: its shaders are compiled once. */
function webGpu(): Promise<WebGpuBackend> {
  shared ??= createWebGpuBackend({ onWarning: () => {} });
  return shared;
}

afterAll(async () => (await shared)?.dispose());

function check(name: string, body: (backend: WebGpuBackend) => Promise<void>): void {
  optional(name, available, async () => body(await webGpu()), TIMEOUT_MILLISECONDS);
}

for (const golden of causalModels(['gpt2', 'qwen3'])) {
  check(`${golden.model} on WebGPU: logits within 1e-4 of transformers, greedy ids identical`, (backend) =>
    checkCausal(backend, golden),
  );
}

check('stories260K on WebGPU: its text, and its perplexity against k', (backend) =>
  checkStories(backend, { newTokens: 12, isWhole: false, kept: [2], units: [] }),
);
