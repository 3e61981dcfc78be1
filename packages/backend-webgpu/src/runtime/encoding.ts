import type { Launch, Span } from './kernel.js';
import type { Profile } from './profile.js';

/** A launch, ready for the device. */
export interface Dispatch {
  /** The kernel's key, for a profile. */
  readonly key: string;
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  /** Where its uniform block lies in the buffer that `group` binds. */
  readonly blockAt: readonly [number];
  readonly workgroups: Launch['workgroups'];
}

/** Commands on their way to the queue: an encoder and a pass, opened when needed. */
export class Encoding {
  readonly #device: GPUDevice;
  readonly #profile: Profile | undefined;
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;
  #pipeline: GPUComputePipeline | undefined;
  #launches = 0;
  #submissions = 0;

  constructor(device: GPUDevice, profile: Profile | undefined) {
    this.#device = device;
    this.#profile = profile;
  }

  get counts(): { readonly launches: number; readonly submissions: number } {
    return { launches: this.#launches, submissions: this.#submissions };
  }

  dispatch({ key, pipeline, group, blockAt, workgroups }: Dispatch): void {
    const pass = this.#passFor(key);
    if (pipeline !== this.#pipeline) pass.setPipeline(pipeline);
    this.#pipeline = pipeline;
    pass.setBindGroup(0, group, blockAt);
    if ('indirect' in workgroups) {
      pass.dispatchWorkgroupsIndirect(workgroups.indirect.buffer, workgroups.indirect.offset);
    } else {
      pass.dispatchWorkgroups(workgroups[0], workgroups[1], workgroups[2]);
    }
    this.#launches++;
  }

  clear({ buffer, offset, size }: Span): void {
    this.#outsidePass().clearBuffer(buffer, offset, size);
  }

  copy(from: GPUBuffer, fromOffset: number, to: GPUBuffer, toOffset: number, bytes: number): void {
    this.#outsidePass().copyBufferToBuffer(from, fromOffset, to, toOffset, bytes);
  }

  submit(): void {
    this.#endPass();
    if (this.#encoder === undefined) return;
    this.#device.queue.submit([this.#encoder.finish()]);
    this.#submissions++;
    this.#encoder = undefined;
  }

  #passFor(key: string): GPUComputePassEncoder {
    this.#encoder ??= this.#device.createCommandEncoder();
    if (this.#profile === undefined) {
      this.#pass ??= this.#encoder.beginComputePass();
      return this.#pass;
    }
    this.#endPass();
    const stamps = this.#profile.next(key);
    this.#pass = this.#encoder.beginComputePass(stamps === undefined ? {} : { timestampWrites: stamps });
    return this.#pass;
  }

  #outsidePass(): GPUCommandEncoder {
    this.#endPass();
    this.#encoder ??= this.#device.createCommandEncoder();
    return this.#encoder;
  }

  #endPass(): void {
    this.#pass?.end();
    this.#pass = undefined;
    this.#pipeline = undefined;
  }
}
