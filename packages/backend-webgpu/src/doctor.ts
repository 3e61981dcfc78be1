import { readOptions } from '@topk-attention/core';
import { type AcquireOptions, acquireKinds, adapterOf, grantedDevice } from './runtime/acquire.js';
import { type DeviceFacts, deviceFacts } from './runtime/facts.js';
import { BUFFER_USAGE, MAP_MODE_READ } from './runtime/usage.js';

export interface DoctorReport {
  /** True when a device was made and a kernel gave the right result on it. */
  readonly ok: boolean;
  /** What is wrong, or worth knowing; empty when nothing is. */
  readonly problems: readonly string[];
  /** Where WebGPU comes from: the browser, or the package `webgpu` (Dawn). Absent if there is none. */
  readonly provider?: 'navigator.gpu' | 'webgpu package' | 'given';
  readonly adapter?: AdapterReport;
  /** Facts about the device that a backend would use. */
  readonly device?: DeviceFacts;
}

export interface AdapterReport {
  readonly vendor: string;
  readonly architecture: string;
  readonly description: string;
  /** True for an adapter that computes on the CPU. */
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
 * Reports which parts of WebGPU are available, what its device offers, and whether it computes or why not. Never
 * throws, except for options that do not exist.
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
        'the adapter is a software (CPU) adapter: results are correct, but slow. Is a GPU driver installed?',
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

/** Written by hand, so that importing `doctor` alone does not pull in a backend. */
const DOUBLES = `
@group(0) @binding(0) var<storage, read_write> values: array<f32>;
@compute @workgroup_size(3) fn main(@builtin(local_invocation_index) i: u32) { values[i] = values[i] + values[i]; }
`;

/** Adds on the device; undefined when the sums are right. */
async function tryKernel(device: GPUDevice): Promise<string | undefined> {
  const size = 12;
  const { STORAGE, COPY_SRC, COPY_DST, MAP_READ } = BUFFER_USAGE;
  const values = device.createBuffer({ size, usage: STORAGE | COPY_SRC | COPY_DST });
  const staging = device.createBuffer({ size, usage: COPY_DST | MAP_READ });
  try {
    device.queue.writeBuffer(values, 0, Float32Array.of(1, 2, 3));
    const module = device.createShaderModule({ code: DOUBLES });
    const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module } });
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    const entries = [{ binding: 0, resource: { buffer: values } }];
    pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
    pass.dispatchWorkgroups(1);
    pass.end();
    encoder.copyBufferToBuffer(values, 0, staging, 0, size);
    device.queue.submit([encoder.finish()]);
    await staging.mapAsync(MAP_MODE_READ);
    const sums = new Float32Array(staging.getMappedRange()).join();
    return sums === '2,4,6' ? undefined : `a sum is wrong: ${sums}`;
  } finally {
    values.destroy();
    staging.destroy();
  }
}
