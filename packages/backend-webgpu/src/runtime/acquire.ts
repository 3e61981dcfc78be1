/// <reference types="@webgpu/types" />
import {
  aBoolean,
  anArray,
  aValue,
  type OptionKinds,
  oneOf,
  readOptions,
  TopKError,
} from '@topk-attention/core';

/** Features that some kernel can use; those that the adapter offers are requested. */
const USEFUL_FEATURES = [
  'subgroups',
  'subgroup-size-control',
  'shader-f16',
  'timestamp-query',
  'chromium-experimental-subgroup-matrix',
] as const;

/** Limits of which some kernel can use more than the default. */
const USEFUL_LIMITS = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
] as const;

export interface AcquireOptions {
  /** Where adapters come from. Default: `navigator.gpu`, else the package `webgpu`. */
  readonly gpu?: GPU;
  /** Default 'high-performance'. */
  readonly powerPreference?: GPUPowerPreference;
  /**
   * Dawn's own switches, `name=value`, for the `webgpu` package in Node, which is then used even if WebGPU is
   * available elsewhere.
   */
  readonly dawnOptions?: readonly string[];
  /** True to request nothing beyond WebGPU's default limits and no features. Default false. */
  readonly defaultLimits?: boolean;
}

export const acquireKinds: OptionKinds<AcquireOptions> = {
  gpu: aValue('a GPU, such as navigator.gpu', (gpu) => hasMethod(gpu, 'requestAdapter')),
  powerPreference: oneOf('low-power', 'high-performance'),
  dawnOptions: anArray(),
  defaultLimits: aBoolean,
};

/** Whether a value is an object of any class with a method of that name. */
export function hasMethod(value: unknown, name: string): boolean {
  return typeof value === 'object' && value !== null && typeof Reflect.get(value, name) === 'function';
}

export interface Acquired {
  readonly adapter: GPUAdapter;
  readonly device: GPUDevice;
}

export interface FoundAdapter {
  readonly adapter: GPUAdapter;
  readonly provider: 'navigator.gpu' | 'webgpu package' | 'given';
}

/**
 * Dawn crashes the process when the object returned by `create()` is collected while one of its devices lives, and
 * even after the device is destroyed: so every one is kept, including those that callers pass in.
 */
const pinned = new Map<string, GPU>();
const brought = new Set<GPU>();

/**
 * A device with every useful feature and limit that the adapter grants.
 *
 * @throws TopKError NO_DEVICE when there is no adapter, or it grants no device; MISSING_PEER in Node without `webgpu`.
 */
export async function acquireDevice(options?: AcquireOptions): Promise<Acquired> {
  return grantedDevice(readOptions('acquireDevice', options, acquireKinds));
}

/** As `acquireDevice`, for options already checked. @throws TopKError as `acquireDevice`. */
export async function grantedDevice(options: AcquireOptions): Promise<Acquired> {
  const { adapter } = await adapterOf(options);
  const requiredFeatures = USEFUL_FEATURES.filter((name) =>
    (adapter.features as ReadonlySet<string>).has(name),
  ) as GPUFeatureName[];
  const requiredLimits = Object.fromEntries(USEFUL_LIMITS.map((name) => [name, adapter.limits[name]]));
  try {
    const device = await adapter.requestDevice(
      options.defaultLimits ? {} : { requiredFeatures, requiredLimits },
    );
    return { adapter, device };
  } catch (cause) {
    throw new TopKError('NO_DEVICE', 'webgpu: the adapter gave no device', {
      got: cause instanceof Error ? cause.message : String(cause),
      fix: 'Free some GPU memory, or restart the browser; doctor() says more',
      cause,
    });
  }
}

/** @throws TopKError as `acquireDevice`. */
export async function adapterOf(options: AcquireOptions): Promise<FoundAdapter> {
  const { powerPreference = 'high-performance' } = options;
  const { gpu, provider } = await gpuOf(options);
  const adapter = await gpu.requestAdapter({ powerPreference });
  if (adapter !== null) return { adapter, provider };
  throw new TopKError('NO_DEVICE', 'webgpu: no adapter was found', {
    fix:
      provider === 'webgpu package'
        ? 'Install a Vulkan, Metal or D3D12 driver, or use another backend'
        : 'Use a browser and machine with WebGPU (chrome://gpu says why it is off), or use another backend',
  });
}

async function gpuOf(
  options: AcquireOptions,
): Promise<{ readonly gpu: GPU; readonly provider: FoundAdapter['provider'] }> {
  const { dawnOptions } = options;
  if (options.gpu !== undefined) {
    brought.add(options.gpu);
    return { gpu: options.gpu, provider: 'given' };
  }
  const { navigator } = globalThis as { navigator?: { gpu?: GPU } };
  if (dawnOptions === undefined && navigator?.gpu !== undefined) {
    return { gpu: navigator.gpu, provider: 'navigator.gpu' };
  }
  const dawn = await importDawn();
  const key = (dawnOptions ?? []).join('\n');
  let gpu = pinned.get(key);
  if (gpu === undefined) {
    gpu = dawn.create([...(dawnOptions ?? [])]);
    pinned.set(key, gpu);
  }
  return { gpu, provider: 'webgpu package' };
}

interface Dawn {
  create(options: string[]): GPU;
}

/** The specifier is a variable, so that bundlers for browsers do not look for the package. */
function importPeer(): Promise<Dawn> {
  const specifier: string = 'webgpu';
  return import(/* @vite-ignore */ /* webpackIgnore: true */ specifier);
}

/** @internal */
export async function importDawn(load: () => Promise<Dawn> = importPeer): Promise<Dawn> {
  try {
    return await load();
  } catch (cause) {
    throw new TopKError(
      'MISSING_PEER',
      "webgpu: neither navigator.gpu nor the package 'webgpu' is available",
      {
        expected: 'webgpu ^0.6.0',
        got: cause instanceof Error ? (cause.message.split('\n')[0] as string) : String(cause),
        fix: 'In Node: npm install webgpu; in browsers: one with WebGPU, on a page served by https or localhost',
        cause,
      },
    );
  }
}
