import { type ConformanceCase, describeConformance } from '@topk-attention/conformance';
import { type Availability, optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { describe } from 'vitest';
import { createTfjsBackend, type Tf, type TfjsBackend, type TfjsOptions } from '../../src/index.js';
import { SOFTWARE_GPU_CALLS, SOFTWARE_GPU_RUNS } from './gpu-cases.js';

/** Where WebGPU is there, which the setup file of the tests sees to. */
export async function webGpuTf(): Promise<Tf> {
  const [tf] = await Promise.all([
    import('@tensorflow/tfjs-core'),
    import('@tensorflow/tfjs-backend-webgpu'),
  ]);
  return tf;
}

interface WebGpuOptions extends Omit<TfjsOptions, 'tf'> {
  /**
   * By itself tfjs computes on the CPU what has less than 1,000 elements and is not on the GPU yet: most of what a test
   * does. Default: everything on the GPU.
   */
  readonly forward?: boolean;
}

export async function createWebGpuTestBackend({
  forward = false,
  ...options
}: WebGpuOptions = {}): Promise<TfjsBackend> {
  const tf = await webGpuTf();
  tf.env().set('WEBGPU_CPU_FORWARD', forward);
  return createTfjsBackend({ tf, engine: 'webgpu', ...options });
}

/** The conformance suite; where the software GPU cannot run, each case is counted and named as skipped. */
export async function describeOnSoftwareGpu(
  name: string,
  cases: readonly ConformanceCase[],
  { needs, ...options }: WebGpuOptions & { readonly needs?: Availability } = {},
): Promise<void> {
  const software = softwareGpuAvailability();
  const all = needs === undefined ? [software] : [software, needs];
  if (all.every(({ available }) => available)) {
    await describeConformance({
      name,
      cases,
      runs: Number(process.env.TOPK_FUZZ_RUNS || SOFTWARE_GPU_RUNS.webgpu),
      calls: SOFTWARE_GPU_CALLS,
      createBackend: () => createWebGpuTestBackend(options),
    });
  } else {
    describe(`conformance of ${name}`, () => {
      for (const one of cases) optional(one.name, all, () => {});
    });
  }
}
