import { aBoolean, aFunction, aNumber, aValue, type OptionKinds, readOptions } from '@topk-attention/core';
import { WebGpuBackend } from './backend.js';
import { type AcquireOptions, acquireKinds, grantedDevice, hasMethod } from './runtime/acquire.js';

export interface WebGpuOptions extends AcquireOptions {
  /** The device to use. It is borrowed: never destroyed. Default: one made with every useful feature and limit. */
  readonly device?: GPUDevice;
  /**
   * Whether attention and feed-forward layers run as dedicated kernels (default) or, with false, as core's composition
   * of primitives: slower, and a check of the kernels.
   */
  readonly fused?: boolean;
  /**
   * Most bytes of free buffers kept for reuse. Default: 2 GiB, or as many as were once in use at a time, if those are more.
   */
  readonly poolCapBytes?: number;
  /** Count how the lists of top-k attention decide, for `backend.selectionCounts()`. Default false. */
  readonly countSelection?: boolean;
  /**
   * Receives messages that the caller should know about, once per backend. Default: `console.warn`, once per process.
   */
  readonly onWarning?: (warning: WebGpuWarning) => void;
}

export interface WebGpuWarning {
  readonly code: 'SOFTWARE_ADAPTER';
  readonly message: string;
}

const kinds: OptionKinds<WebGpuOptions> = {
  ...acquireKinds,
  device: aValue('a GPUDevice', (device) => hasMethod(device, 'createBuffer')),
  fused: aBoolean,
  poolCapBytes: aNumber,
  countSelection: aBoolean,
  onWarning: aFunction(),
};

let hasWarned = false;

function warnOnConsole({ message }: WebGpuWarning): void {
  const { console } = globalThis as { console?: { warn(message: string): void } };
  if (!hasWarned) console?.warn(message);
  hasWarned = true;
}

/**
 * A backend on WebGPU: `navigator.gpu` in browsers, Dawn (the package `webgpu`) in Node.
 *
 * @throws TopKError INVALID_OPTION; NO_DEVICE when no adapter is found or it grants no device; MISSING_PEER in Node without `webgpu`.
 * @example
 * const backend = await createWebGpuBackend();
 */
export async function createWebGpuBackend(options?: WebGpuOptions): Promise<WebGpuBackend> {
  const given = readOptions('createWebGpuBackend', options, kinds);
  const { onWarning = warnOnConsole, fused, poolCapBytes, countSelection } = given;
  const device = given.device ?? (await grantedDevice(given)).device;
  const backend = new WebGpuBackend(device, {
    ownsDevice: given.device === undefined,
    ...(fused !== undefined && { fused }),
    ...(poolCapBytes !== undefined && { poolCapBytes }),
    ...(countSelection !== undefined && { countSelection }),
  });
  if (backend.facts.isSoftware) {
    onWarning({
      code: 'SOFTWARE_ADAPTER',
      message:
        `webgpu: the adapter "${backend.facts.description || backend.facts.vendor}" is a software (CPU) adapter: results are correct, ` +
        'but slower than the other backends. Install a GPU driver, or use another backend',
    });
  }
  return backend;
}
