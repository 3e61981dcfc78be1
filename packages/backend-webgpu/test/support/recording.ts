import type { DType, Shape } from '@topk-attention/core';
import type { DeviceFacts } from '../../src/runtime/facts.js';
import { type Kernel, LARGEST_GRID, type Span } from '../../src/runtime/kernel.js';
import { UNIFORM_BYTES } from '../../src/runtime/pipelines.js';
import type { Stream } from '../../src/runtime/stream.js';
import { storageBytes, type View } from '../../src/runtime/view.js';

/** A device with the default limits of WebGPU and none of its features. */
export const PLAIN: DeviceFacts = {
  features: new Set(),
  bindingBytes: 2 ** 27,
  bufferBytes: 2 ** 28,
  workgroupBytes: 16_384,
  workgroupInvocations: 256,
  storageBuffers: 8,
  subgroupMinSize: 0,
  subgroupMaxSize: 0,
  isSoftware: false,
  vendor: '',
  architecture: '',
  description: '',
};

/** One with everything that kernels ask for. */
export const SUBGROUPS: DeviceFacts = {
  ...PLAIN,
  features: new Set(['subgroups', 'shader-f16', 'chromium-experimental-subgroup-matrix']),
  subgroupMinSize: 32,
  subgroupMaxSize: 32,
  vendor: 'nvidia',
};

/** The kernels that `work` launches on a device of which there are but the facts, by key. */
export function kernelsOf(
  facts: DeviceFacts,
  work: (stream: Stream, view: (shape: Shape, dtype?: DType) => View) => void,
): ReadonlyMap<string, Kernel> {
  const kernels = new Map<string, Kernel>();
  const device = { limits: { maxStorageBufferBindingSize: facts.bindingBytes } } as GPUDevice;
  const scratch = (size: number): Span => ({ buffer: {} as GPUBuffer, offset: 0, size });
  const stream: Pick<
    Stream,
    'device' | 'facts' | 'launch' | 'scratch' | 'release' | 'clear' | 'copy' | 'flush'
  > = {
    device,
    facts,
    launch({ kernel, buffers, uniforms, workgroups }) {
      if (buffers.length > facts.storageBuffers) throw new Error(`${kernel.key}: ${buffers.length} buffers`);
      const bytes = buffers.reduce((most, { size }) => Math.max(most, size), 0);
      if (bytes > facts.bindingBytes) throw new Error(`${kernel.key}: a binding of ${bytes} bytes`);
      if (uniforms.byteLength > UNIFORM_BYTES) throw new Error(`${kernel.key}: ${uniforms.byteLength} bytes`);
      if (!('indirect' in workgroups) && workgroups.some((count) => count > LARGEST_GRID)) {
        throw new Error(`${kernel.key}: ${workgroups.join(' x ')} workgroups`);
      }
      const known = kernels.get(kernel.key);
      if (known !== undefined && known.source() !== kernel.source()) {
        throw new Error(`two shaders with the key ${kernel.key}`);
      }
      kernels.set(kernel.key, kernel);
    },
    scratch,
    release: () => {},
    clear: () => {},
    copy: () => {},
    flush: () => {},
  };
  work(stream as Stream, (shape, dtype = 'f32') => ({
    span: scratch(storageBytes(shape, dtype)),
    shape,
    dtype,
  }));
  return kernels;
}
