import { TopKError } from '@topk-attention/core';
import type { Kernel } from './kernel.js';
import { SHADER_STAGE_COMPUTE } from './usage.js';

/** Bytes of the uniform block of a launch, bound at an offset that each launch chooses. */
export const UNIFORM_BYTES = 256;

/** Compute pipelines by kernel key, compiled asynchronously and kept for the lifetime of the device. */
export class Pipelines {
  readonly #device: GPUDevice;
  readonly #pipelines = new Map<string, Promise<GPUComputePipeline>>();
  readonly #ready = new Map<string, GPUComputePipeline>();
  readonly #layouts = new Map<string, GPUBindGroupLayout>();

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  get size(): number {
    return this.#pipelines.size;
  }

  /** Starts compiling unless that has already begun. */
  get(kernel: Kernel): Promise<GPUComputePipeline> {
    let pipeline = this.#pipelines.get(kernel.key);
    if (pipeline === undefined) {
      pipeline = this.#compile(kernel);
      pipeline.catch(() => {}); // reported by whoever awaits it
      this.#pipelines.set(kernel.key, pipeline);
    }
    return pipeline;
  }

  /** The pipeline if it is compiled. */
  ready(kernel: Kernel): GPUComputePipeline | undefined {
    return this.#ready.get(kernel.key);
  }

  layoutOf(kernel: Kernel): GPUBindGroupLayout {
    const key = kernel.buffers.join();
    let layout = this.#layouts.get(key);
    if (layout === undefined) {
      const storage = kernel.buffers.map((access, index) => ({
        binding: index + 1,
        visibility: SHADER_STAGE_COMPUTE,
        buffer: { type: access === 'read' ? ('read-only-storage' as const) : ('storage' as const) },
      }));
      const uniform = {
        binding: 0,
        visibility: SHADER_STAGE_COMPUTE,
        buffer: { type: 'uniform' as const, hasDynamicOffset: true },
      };
      layout = this.#device.createBindGroupLayout({ entries: [uniform, ...storage] });
      this.#layouts.set(key, layout);
    }
    return layout;
  }

  async #compile(kernel: Kernel): Promise<GPUComputePipeline> {
    const device = this.#device;
    let module: GPUShaderModule | undefined;
    try {
      device.pushErrorScope('validation');
      let compiling: Promise<GPUComputePipeline>;
      try {
        const layout = device.createPipelineLayout({ bindGroupLayouts: [this.layoutOf(kernel)] });
        module = device.createShaderModule({ label: kernel.key, code: kernel.source() });
        compiling = device.createComputePipelineAsync({
          label: kernel.key,
          layout,
          compute: { module, entryPoint: 'main' },
        });
      } finally {
        // The pipeline's own promise reports the same error in more detail.
        device.popErrorScope().catch(() => {});
      }
      const pipeline = await compiling;
      this.#ready.set(kernel.key, pipeline);
      return pipeline;
    } catch (cause) {
      const { messages = [] } = (await module?.getCompilationInfo().catch(() => undefined)) ?? {};
      const errors = messages.filter(({ type }) => type === 'error');
      const lines = errors.map(({ lineNum, linePos, message }) => `${lineNum}:${linePos} ${message}`);
      throw new TopKError('ENGINE_FAILURE', `webgpu: shader ${kernel.key} failed to compile`, {
        got: lines.join('; ') || (cause instanceof Error ? cause.message : String(cause)),
        cause,
      });
    }
  }
}
