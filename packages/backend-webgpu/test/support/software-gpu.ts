import { type ConformanceCase, describeConformance, type Exclusion } from '@topk-attention/conformance';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { describe, onTestFinished } from 'vitest';
import { createWebGpuBackend, type WebGpuBackend, type WebGpuOptions } from '../../src/index.js';

/** A backend on whatever adapter there is; tests know that it may be a slow one. */
export function createTestBackend(options: WebGpuOptions = {}): Promise<WebGpuBackend> {
  return createWebGpuBackend({ onWarning: () => {}, ...options });
}

/** The same, disposed of when the test is finished. */
export async function openTestBackend(options: WebGpuOptions = {}): Promise<WebGpuBackend> {
  const backend = await createTestBackend(options);
  onTestFinished(() => backend.dispose());
  return backend;
}

const exclusions: readonly Exclusion[] = [];

/** Random trials of a property: SwiftShader takes some 50 ms for each. `pnpm fuzz` asks for more. */
const SOFTWARE_RUNS = 10;

/**
 * Calls with flat live bytes, of 1,000 elsewhere. The backend counts its bytes itself and the count is compared after
 * every call; runtime/runtime.test.ts makes 1,000 calls and looks at the buffers.
 */
const SOFTWARE_CALLS = 100;

/** The conformance suite; where SwiftShader cannot run, each case is counted and named as skipped. */
export async function describeOnSoftwareGpu(
  name: string,
  cases: readonly ConformanceCase[],
  options: WebGpuOptions = {},
): Promise<void> {
  const software = softwareGpuAvailability();
  if (software.available) {
    const runs = Number(process.env.TOPK_FUZZ_RUNS || SOFTWARE_RUNS);
    await describeConformance({
      name,
      cases,
      runs,
      calls: SOFTWARE_CALLS,
      exclusions: exclusions.filter((one) => cases.some((each) => each.name === one.name)),
      createBackend: () => createTestBackend(options),
    });
  } else {
    describe(`conformance of ${name}`, () => {
      for (const one of cases) optional(one.name, software, () => {});
    });
  }
}
