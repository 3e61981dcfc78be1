import { readOptions } from '@topk-attention/core';
import { WebGpuBackend } from './backend.js';
import { type AcquireOptions, acquireKinds, adapterOf, grantedDevice } from './runtime/acquire.js';
import { type DeviceFacts, deviceFacts } from './runtime/facts.js';

export interface DoctorReport {
  /** True when a device was made and a kernel gave the right result on it. */
  readonly ok: boolean;
  /** What is wrong, or worth knowing; empty when nothing is. */
  readonly problems: readonly string[];
  /** Where WebGPU comes from: the browser, or the package `webgpu` (Dawn). Absent where there is none. */
  readonly provider?: 'navigator.gpu' | 'webgpu package' | 'given';
  readonly adapter?: AdapterReport;
  /** Of the device that a backend would use. */
  readonly device?: DeviceFacts;
}

export interface AdapterReport {
  readonly vendor: string;
  readonly architecture: string;
  readonly description: string;
  /** True for one that computes on the CPU. */
  readonly isSoftware: boolean;
  readonly features: readonly string[];
  readonly limits: Readonly<Record<string, number>>;
}

const REPORTED_LIMITS = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
] as const;

/**
 * What of WebGPU is there, what its device offers, whether it computes, and why not. Never throws, but for options that do not exist.
 *
 * @example
 * const { ok, problems, adapter } = await doctor();
 */
export async function doctor(options?: AcquireOptions): Promise<DoctorReport> {
  const given = readOptions('doctor', options, acquireKinds);
  const problems: string[] = [];
  let report: Omit<DoctorReport, 'ok' | 'problems'> = {};
  let device: GPUDevice | undefined;
  try {
    const { adapter, provider } = await adapterOf(given);
    const { info } = adapter;
    report = {
      provider,
      adapter: {
        vendor: info.vendor,
        architecture: info.architecture,
        description: info.description || info.device,
        isSoftware: false,
        features: Array.from(adapter.features as ReadonlySet<string>).sort(),
        limits: Object.fromEntries(REPORTED_LIMITS.map((name) => [name, adapter.limits[name]])),
      },
    };
    ({ device } = await grantedDevice(given));
    const facts = deviceFacts(device);
    if (report.adapter) report = { ...report, adapter: { ...report.adapter, isSoftware: facts.isSoftware } };
    report = { ...report, device: facts };
    if (facts.isSoftware) {
      problems.push(
        'the adapter computes on the CPU: results are right, but slow. Is a GPU driver installed?',
      );
    }
    const wrong = await tryKernel(device);
    if (wrong !== undefined) problems.push(wrong);
    return { ok: wrong === undefined, problems, ...report };
  } catch (error) {
    problems.push(error instanceof Error ? error.message : String(error));
    return { ok: false, problems, ...report };
  } finally {
    device?.destroy();
  }
}

/** Adds on the device; undefined when the sum is right. */
async function tryKernel(device: GPUDevice): Promise<string | undefined> {
  const backend = new WebGpuBackend(device);
  try {
    const x = backend.upload(Float32Array.of(1, 2, 3), [3], 'f32');
    const values = await backend.read(backend.binary('add', x, x));
    return values.join() === '2,4,6' ? undefined : `a sum came out wrong: ${values.join()}`;
  } finally {
    await backend.dispose();
  }
}
