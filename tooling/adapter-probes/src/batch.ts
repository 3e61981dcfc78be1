/// <reference types="@webgpu/types" />
import { TopKError } from '@topk-attention/core';

const error = (code: 'OUT_OF_MEMORY' | 'ENGINE_FAILURE', what: string): TopKError =>
  new TopKError(code, `webgpu-probe: ${what}`);

/**
 * Work recorded between two flushes, and the unit of failure: one invalid buffer makes the whole command buffer
 * invalid, so every result of the batch is lost, and with it what later batches make of them.
 */
export class Batch {
  /** Resolves after `submit`: why the results are worthless, or undefined. */
  readonly failure: Promise<TopKError | undefined>;
  readonly #device: GPUDevice;
  readonly #sources = new Set<Batch>();
  readonly #garbage: GPUBuffer[] = [];
  #encoder: GPUCommandEncoder | undefined;
  #settle: (failure: Promise<TopKError | undefined>) => void = () => {};

  constructor(device: GPUDevice) {
    this.#device = device;
    this.failure = new Promise((resolve) => {
      this.#settle = resolve;
    });
    device.pushErrorScope('out-of-memory');
    device.pushErrorScope('validation');
  }

  get encoder(): GPUCommandEncoder {
    this.#encoder ??= this.#device.createCommandEncoder();
    return this.#encoder;
  }

  /** The results of this batch are computed from those of another. */
  reads(source: Batch): void {
    if (source !== this) this.#sources.add(source);
  }

  /** Destroys a buffer when the recorded work that may use it has been submitted. */
  discard(buffer: GPUBuffer): void {
    this.#garbage.push(buffer);
  }

  submit(): void {
    if (this.#encoder !== undefined) this.#device.queue.submit([this.#encoder.finish()]);
    for (const buffer of this.#garbage) buffer.destroy();
    this.#settle(this.#collect([this.#device.popErrorScope(), this.#device.popErrorScope()]));
  }

  async #collect(scopes: readonly Promise<GPUError | null>[]): Promise<TopKError | undefined> {
    const [validation, outOfMemory] = await Promise.all(scopes);
    if (outOfMemory) return error('OUT_OF_MEMORY', outOfMemory.message);
    if (validation) return error('ENGINE_FAILURE', validation.message);
    const inherited = await Promise.all(Array.from(this.#sources, (source) => source.failure));
    this.#sources.clear(); // else every batch would hold all before it
    return inherited.find((failure) => failure !== undefined);
  }
}
