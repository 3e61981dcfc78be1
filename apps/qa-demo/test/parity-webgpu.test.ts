import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { createWebGpuBackend, type WebGpuBackend } from '@topk-attention/webgpu';
import { afterAll } from 'vitest';
import { checkEncoderStates, encoderGoldens } from './encoder-checks.js';
import {
  checkEmbedded,
  checkForward,
  checkGeneration,
  forwardCases,
  goldenModels,
  hasGeneration,
} from './t5-checks.js';

const available = softwareGpuAvailability();
/** The software GPU takes its time. */
const TIMEOUT_MILLISECONDS = 900_000;
/** Of the embedded model's prompts, in tokens. */
const LONGEST_PROMPT = 45;

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

for (const golden of goldenModels) {
  for (const name of forwardCases(golden)) {
    check(
      `${golden.model} on WebGPU, encoder outputs and logits within 1e-4 of transformers: ${name}`,
      (backend) => checkForward(backend, golden, [name]),
    );
  }
  if (!hasGeneration(golden)) continue;
  check(
    `${golden.model} on WebGPU, greedy ids are those of transformers, alone and in a batch; nothing else is read back`,
    (backend) => checkGeneration(backend, golden),
  );
}

check(
  'the embedded model on WebGPU: logits within 1e-4 of transformers, answers identical',
  async (backend) => {
    const { model } = await checkEmbedded(backend, LONGEST_PROMPT);
    model.dispose();
  },
);

for (const golden of encoderGoldens) {
  check(`${golden.model} on WebGPU: hidden states within 1e-4 of transformers, exact and top-k`, (backend) =>
    checkEncoderStates(backend, golden),
  );
}
