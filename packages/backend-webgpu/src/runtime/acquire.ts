/// <reference types="@webgpu/types" />
import { TopKError } from '@topk-attention/core';

/** Features that some kernel can use; what the adapter offers of them is requested. */
const USEFUL_FEATURES = [
  'subgroups',
  'subgroup-size-control',
  'shader-f16',
  'timestamp-query',
  'chromium-experimental-subgroup-matrix',
] as const;

/** Limits that some kernel can use more of than the default. */
const USEFUL_LIMITS = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
] as const;

export interface AcquireOptions {
  readonly powerPreference?: GPUPowerPreference;
  /** Dawn's own switches, `name=value`, for the `webgpu` package in Node. */
  readonly dawnOptions?: readonly string[];
  /** True to request nothing beyond WebGPU's default limits and no features. */
  readonly defaultLimits?: boolean;
}

export interface Acquired {
  readonly adapter: GPUAdapter;
  readonly device: GPUDevice;
}

/**
 * Dawn crashes the process when the object of `create()` is collected while a device of it lives, and does not forgive
 * after the device is destroyed either: every one stays.
 */
const pinned = new Map<string, GPU>();

/** A device with every useful feature and limit that the adapter grants. */
export async function acquireDevice(options: AcquireOptions = {}): Promise<Acquired> {
  const gpu = await gpuOf(options);
  const { powerPreference = 'high-performance', defaultLimits = false } = options;
  const adapter = await gpu.requestAdapter({ powerPreference });
  if (adapter === null) {
    throw new TopKError('NO_DEVICE', 'webgpu: no adapter was found', {
      fix: 'Use a browser with WebGPU, or, in Node, install a Vulkan, Metal or D3D12 driver',
    });
  }
  const requiredFeatures = USEFUL_FEATURES.filter((name) =>
    (adapter.features as ReadonlySet<string>).has(name),
  ) as GPUFeatureName[];
  const requiredLimits = Object.fromEntries(USEFUL_LIMITS.map((name) => [name, adapter.limits[name]]));
  const device = await adapter.requestDevice(defaultLimits ? {} : { requiredFeatures, requiredLimits });
  return { adapter, device };
}

async function gpuOf({ dawnOptions }: AcquireOptions): Promise<GPU> {
  const { navigator } = globalThis as { navigator?: { gpu?: GPU } };
  if (dawnOptions === undefined && navigator?.gpu !== undefined) return navigator.gpu;
  const dawn = await importDawn();
  const key = (dawnOptions ?? []).join('\n');
  let gpu = pinned.get(key);
  if (gpu === undefined) {
    gpu = dawn.create([...(dawnOptions ?? [])]);
    pinned.set(key, gpu);
  }
  return gpu;
}

interface Dawn {
  create(options: string[]): GPU;
  readonly globals: object;
}

async function importDawn(): Promise<Dawn> {
  try {
    const dawn: Dawn = await import('webgpu');
    // GPUBufferUsage and its like, which browsers define.
    for (const [name, value] of Object.entries(dawn.globals)) {
      if (!(name in globalThis)) Object.assign(globalThis, { [name]: value });
    }
    return dawn;
  } catch (cause) {
    throw new TopKError('MISSING_PEER', "webgpu: neither navigator.gpu nor the package 'webgpu' is there", {
      fix: 'In Node: npm install webgpu',
      cause,
    });
  }
}
