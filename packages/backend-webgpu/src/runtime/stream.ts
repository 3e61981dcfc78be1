import { TopKError } from '@topk-attention/core';
import type { Launch, Span } from './kernel.js';
import { Pipelines } from './pipelines.js';
import { BufferPool } from './pool.js';
import type { Profile } from './profile.js';

type Step =
  | { readonly kind: 'launch'; readonly launch: Launch }
  | { readonly kind: 'write'; readonly to: Span; readonly data: Uint8Array }
  | { readonly kind: 'copy'; readonly from: Span; readonly to: Span }
  | { readonly kind: 'clear'; readonly span: Span }
  | { readonly kind: 'destroy'; readonly buffer: GPUBuffer };

const UNIFORM_STRIDE = 256;

/**
 * Work for one device, in order. Steps are recorded at once, encoded and submitted at `flush` as soon as their
 * pipelines are compiled, and waited for only by `finish` and `read`. After any failure nothing more is submitted and
 * every wait rejects.
 */
export class Stream {
  readonly device: GPUDevice;
  readonly pipelines: Pipelines;
  readonly pool: BufferPool;
  /** Set to measure: every launch then runs in a pass of its own between two timestamps. */
  profile: Profile | undefined;
  #steps: Step[] = [];
  #submitted: Promise<void> = Promise.resolve();
  #checks: Promise<void>[] = [];
  #uniforms: GPUBuffer | undefined;
  #failure: TopKError | undefined;

  constructor(device: GPUDevice) {
    this.device = device;
    this.pipelines = new Pipelines(device);
    this.pool = new BufferPool(device);
    device.lost.then(({ reason, message }) => {
      this.fail(
        new TopKError('DEVICE_LOST', `webgpu: the device was lost (${reason})`, {
          got: message,
          fix: 'Create the backend again',
        }),
      );
    });
  }

  /** Why nothing runs any more. */
  get failure(): TopKError | undefined {
    return this.#failure;
  }

  fail(error: TopKError): void {
    this.#failure ??= error;
    this.#steps = [];
  }

  /** Recorded launches that are not submitted yet. */
  get pending(): number {
    return this.#steps.length;
  }

  launch(launch: Launch): void {
    this.#record({ kind: 'launch', launch });
    void this.pipelines.get(launch.kernel);
  }

  /** Writes bytes (a multiple of 4 of them), which the caller leaves alone from now on. */
  write(to: Span, data: Uint8Array): void {
    this.#record({ kind: 'write', to, data });
  }

  copy(from: Span, to: Span): void {
    this.#record({ kind: 'copy', from, to });
  }

  /** Zeros. */
  clear(span: Span): void {
    this.#record({ kind: 'clear', span });
  }

  /** Scratch from the pool; give it back with `release` as soon as its last user is recorded. */
  scratch(bytes: number): Span {
    const size = Math.max(4, Math.ceil(bytes / 4) * 4);
    return { buffer: this.pool.acquire(size), offset: 0, size };
  }

  release(span: Span): void {
    this.pool.release(span.buffer);
  }

  /** Destroys a buffer after everything recorded so far. */
  destroyLater(buffer: GPUBuffer): void {
    this.#record({ kind: 'destroy', buffer });
  }

  /** Starts the recorded work without waiting. */
  flush(): void {
    if (this.#steps.length === 0) return;
    const steps = this.#steps;
    this.#steps = [];
    this.#submitted = this.#submitted.then(() => this.#submit(steps));
  }

  /** Waits for everything recorded so far. Rejects after a failure. */
  async finish(): Promise<void> {
    this.flush();
    await this.#submitted;
    if (this.#failure === undefined) await this.device.queue.onSubmittedWorkDone();
    const checks = this.#checks;
    this.#checks = [];
    await Promise.all(checks);
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** A copy of the bytes, after everything recorded so far. */
  async read(span: Span): Promise<Uint8Array> {
    if (this.#failure !== undefined) throw this.#failure;
    const { MAP_READ, COPY_DST } = GPUBufferUsage;
    const staging = this.device.createBuffer({ size: span.size, usage: MAP_READ | COPY_DST });
    try {
      this.copy(span, { buffer: staging, offset: 0, size: span.size });
      await this.finish();
      await staging.mapAsync(GPUMapMode.READ);
      return new Uint8Array(staging.getMappedRange()).slice();
    } finally {
      staging.destroy();
    }
  }

  #record(step: Step): void {
    if (this.#failure === undefined) this.#steps.push(step);
  }

  async #submit(steps: readonly Step[]): Promise<void> {
    if (this.#failure !== undefined) return;
    const launches = steps.flatMap((step) => (step.kind === 'launch' ? [step.launch] : []));
    try {
      const compiled = await Promise.all(launches.map(({ kernel }) => this.pipelines.get(kernel)));
      if (this.#failure !== undefined) return;
      const { device } = this;
      device.pushErrorScope('out-of-memory');
      device.pushErrorScope('validation');
      try {
        this.#encode(steps, launches, compiled);
      } finally {
        const scopes = [device.popErrorScope(), device.popErrorScope()] as const;
        this.#checks.push(this.#check(...scopes));
      }
    } catch (cause) {
      this.fail(
        cause instanceof TopKError
          ? cause
          : new TopKError('ENGINE_FAILURE', `webgpu: ${String(cause)}`, { cause }),
      );
    }
  }

  #encode(
    steps: readonly Step[],
    launches: readonly Launch[],
    compiled: readonly GPUComputePipeline[],
  ): void {
    const { device, profile } = this;
    const uniforms = this.#writeUniforms(launches);
    let encoder: GPUCommandEncoder | undefined;
    let pass: GPUComputePassEncoder | undefined;
    let index = 0;
    const endPass = (): void => {
      pass?.end();
      pass = undefined;
    };
    const submit = (): void => {
      endPass();
      if (encoder !== undefined) device.queue.submit([encoder.finish()]);
      encoder = undefined;
    };
    for (const step of steps) {
      if (step.kind === 'write') {
        submit();
        const { to, data } = step;
        device.queue.writeBuffer(to.buffer, to.offset, data, 0, data.byteLength);
        continue;
      }
      if (step.kind === 'destroy') {
        submit();
        step.buffer.destroy();
        continue;
      }
      encoder ??= device.createCommandEncoder();
      if (step.kind === 'launch') {
        if (profile !== undefined) endPass();
        const stamps = profile?.next(step.launch.kernel.key);
        pass ??= encoder.beginComputePass(stamps === undefined ? {} : { timestampWrites: stamps });
        const { kernel, buffers, workgroups } = step.launch;
        const bindGroup = device.createBindGroup({
          layout: this.pipelines.layoutOf(kernel),
          entries: [
            {
              binding: 0,
              resource: {
                buffer: uniforms,
                offset: index * UNIFORM_STRIDE,
                size: step.launch.uniforms.byteLength,
              },
            },
            ...buffers.map((span, at) => ({ binding: at + 1, resource: span })),
          ],
        });
        pass.setPipeline(compiled[index] as GPUComputePipeline);
        pass.setBindGroup(0, bindGroup);
        if ('indirect' in workgroups) {
          pass.dispatchWorkgroupsIndirect(workgroups.indirect.buffer, workgroups.indirect.offset);
        } else {
          pass.dispatchWorkgroups(...workgroups);
        }
        index++;
      } else {
        endPass();
        if (step.kind === 'clear') encoder.clearBuffer(step.span.buffer, step.span.offset, step.span.size);
        else {
          const { from, to } = step;
          encoder.copyBufferToBuffer(from.buffer, from.offset, to.buffer, to.offset, from.size);
        }
      }
    }
    submit();
  }

  /** One buffer for all: writes and submissions happen in order, so it may be written again for every submission. */
  #writeUniforms(launches: readonly Launch[]): GPUBuffer {
    const bytes = Math.max(1, launches.length) * UNIFORM_STRIDE;
    if (this.#uniforms === undefined || this.#uniforms.size < bytes) {
      const { UNIFORM, COPY_DST } = GPUBufferUsage;
      this.#uniforms?.destroy();
      const size = 2 ** Math.ceil(Math.log2(Math.max(bytes, 1 << 14)));
      this.#uniforms = this.device.createBuffer({ size, usage: UNIFORM | COPY_DST });
    }
    const data = new Uint32Array(bytes / 4);
    for (const [index, { uniforms }] of launches.entries()) data.set(uniforms, (index * UNIFORM_STRIDE) / 4);
    this.device.queue.writeBuffer(this.#uniforms, 0, data);
    return this.#uniforms;
  }

  async #check(validation: Promise<GPUError | null>, outOfMemory: Promise<GPUError | null>): Promise<void> {
    const [invalid, exhausted] = await Promise.all([validation, outOfMemory]).catch(() => [null, null]);
    if (exhausted) {
      this.fail(
        new TopKError('OUT_OF_MEMORY', `webgpu: ${exhausted.message}`, {
          fix: 'Use a smaller queryChunk or budgetBytes, or a shorter input; create the backend again',
        }),
      );
    } else if (invalid) {
      this.fail(new TopKError('ENGINE_FAILURE', `webgpu: ${invalid.message}`));
    }
  }
}
