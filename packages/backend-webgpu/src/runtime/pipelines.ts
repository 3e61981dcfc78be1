import { TopKError } from '@topk-attention/core';
import type { Kernel } from './kernel.js';

/** Compute pipelines by kernel key, compiled asynchronously and kept as long as the device. */
export class Pipelines {
  readonly #device: GPUDevice;
  readonly #pipelines = new Map<string, Promise<GPUComputePipeline>>();
  readonly #layouts = new Map<string, GPUBindGroupLayout>();

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  get size(): number {
    return this.#pipelines.size;
  }

  /** Starts compiling where that has not begun. */
  get(kernel: Kernel): Promise<GPUComputePipeline> {
    let pipeline = this.#pipelines.get(kernel.key);
    if (pipeline === undefined) {
      pipeline = this.#compile(kernel);
      pipeline.catch(() => {}); // reported by whoever awaits it
      this.#pipelines.set(kernel.key, pipeline);
    }
    return pipeline;
  }

  layoutOf(kernel: Kernel): GPUBindGroupLayout {
    const key = kernel.buffers.join();
    let layout = this.#layouts.get(key);
    if (layout === undefined) {
      const storage = kernel.buffers.map((access, index) => ({
        binding: index + 1,
        visibility: GPUShaderStage.COMPUTE,
        buffer: {
          type: access === 'read' ? ('read-only-storage' as const) : ('storage' as const),
        },
      }));
      const uniform = {
        binding: 0,
        visibility: GPUShaderStage.COMPUTE,
        buffer: { type: 'uniform' as const },
      };
      layout = this.#device.createBindGroupLayout({ entries: [uniform, ...storage] });
      this.#layouts.set(key, layout);
    }
    return layout;
  }

  async #compile(kernel: Kernel): Promise<GPUComputePipeline> {
    const device = this.#device;
    try {
      const layout = device.createPipelineLayout({ bindGroupLayouts: [this.layoutOf(kernel)] });
      const module = device.createShaderModule({ label: kernel.key, code: kernel.source() });
      return await device.createComputePipelineAsync({
        label: kernel.key,
        layout,
        compute: { module, entryPoint: 'main' },
      });
    } catch (cause) {
      throw new TopKError('ENGINE_FAILURE', `webgpu: shader ${kernel.key} was not accepted`, {
        got: cause instanceof Error ? cause.message : String(cause),
        cause,
      });
    }
  }
}
