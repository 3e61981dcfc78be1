/// <reference types="@webgpu/types" />
import { TopKError } from '@topk-attention/core';

/**
 * Dawn crashes the process when the object of `create()` is collected while a device of it lives, and does not
 * forgive after the device is destroyed either. So there is one, and it stays.
 */
let gpu: GPU | undefined;

/** A device with default limits. Rejects with NO_DEVICE where no adapter is found. */
export async function requestDevice(): Promise<GPUDevice> {
  const { create, globals } = await import('webgpu'); // here, as its binary does not exist for every machine
  Object.assign(globalThis, globals);
  gpu ??= create([]);
  const adapter = await gpu.requestAdapter();
  if (adapter === null) {
    throw new TopKError('NO_DEVICE', 'webgpu found no adapter', {
      fix: 'Start the process with a Vulkan driver',
    });
  }
  return adapter.requestDevice();
}
