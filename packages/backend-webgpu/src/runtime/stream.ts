import { TopKError } from '@topk-attention/core';
import { BindGroups } from './bind-groups.js';
import { CalmWaiting } from './calm-waiting.js';
import type { CommandContext } from './commands.js';
import { DryBuffer } from './dry-buffer.js';
import { ErrorScopes } from './error-scopes.js';
import { type DeviceFacts, deviceFacts } from './facts.js';
import { Failure } from './failure.js';
import type { Kernel, Launch, Span } from './kernel.js';
import { Pipelines, UNIFORM_BYTES } from './pipelines.js';
import { BufferPool } from './pool.js';
import type { Profile } from './profile.js';
import { Capture, type Program, type Segment } from './program.js';
import { Readback } from './readback.js';
import { Recording, type Replaceable } from './recording.js';
import type { Step } from './step.js';
import { Submitter } from './submitter.js';

/** Number of steps after which work starts without a flush, so that the device need not wait for a long recording. */
const MOST_PENDING = 512;

/** Resolves after a tenth of a second, or at once where there are no timers. */
function soon(): Promise<void> {
  const { setTimeout } = globalThis as { setTimeout?: (call: () => void, milliseconds: number) => unknown };
  return new Promise((resolve) => (setTimeout === undefined ? resolve() : setTimeout(resolve, 100)));
}

/** The kernels that a step needs. */
function neededBy(step: Step): readonly Kernel[] {
  if (step.kind === 'launch') return [step.launch.kernel];
  if (step.kind === 'replay') return step.recording.kernels;
  return step.kind === 'segment' ? step.segment.kernels : [];
}

export interface StreamOptions {
  /** See `PoolOptions.capBytes`. */
  readonly poolCapBytes?: number;
  /** True to hand out buffers without storage and to run nothing: the pool then counts what work would take. */
  readonly isDry?: boolean;
}

/**
 * Work for one device, in order. Steps are recorded at once, encoded and submitted at `flush` as soon as their
 * pipelines are compiled, and waited for only by `finish` and `read`. After any failure nothing more is submitted and
 * every wait rejects.
 */
export class Stream {
  readonly device: GPUDevice;
  /** What the device offers. */
  readonly facts: DeviceFacts;
  readonly pipelines: Pipelines;
  readonly pool: BufferPool;
  /** Set to measure: every launch then runs in its own pass between two timestamps. */
  profile: Profile | undefined;
  readonly isDry: boolean;
  readonly #bindGroups: BindGroups;
  readonly #context: CommandContext & { destroyLater(buffer: GPUBuffer): void };
  readonly #submitter: Submitter;
  readonly #readback: Readback;
  readonly #failure = new Failure();
  readonly #waiting = new CalmWaiting();
  #steps: Step[] = [];
  /** While steps are recorded for replays: the steps since recording began. */
  #recorded: Step[] | undefined;
  /** While a program is captured. */
  #capture: Capture | undefined;
  #submitted: Promise<void> = Promise.resolve();
  /** Submissions that wait for pipelines. */
  #delayed = 0;
  readonly #scopes: ErrorScopes;

  constructor(device: GPUDevice, { poolCapBytes, isDry = false }: StreamOptions = {}) {
    this.device = device;
    this.isDry = isDry;
    this.facts = deviceFacts(device);
    this.#scopes = new ErrorScopes(device, (error) => this.fail(error));
    this.pipelines = new Pipelines(device);
    this.#bindGroups = new BindGroups(device, this.pipelines);
    this.#submitter = new Submitter(device, this.pipelines, this.#bindGroups);
    this.#context = {
      ...{ device, pipelines: this.pipelines, bindGroups: this.#bindGroups },
      destroyLater: (buffer) => this.destroyLater(buffer),
    };
    const create = (descriptor: GPUBufferDescriptor): GPUBuffer =>
      isDry ? new DryBuffer(descriptor) : this.#scopes.run(() => device.createBuffer(descriptor));
    this.#readback = new Readback(create);
    this.pool = new BufferPool(device, {
      ...(poolCapBytes !== undefined && { capBytes: poolCapBytes }),
      create,
      discard: (buffer) => this.destroyLater(buffer),
    });
    // The device may be the caller's and outlive this stream; its promise must not keep the stream alive.
    const self = new WeakRef(this);
    device.lost.then(({ reason, message }) => {
      self.deref()?.fail(
        new TopKError('DEVICE_LOST', `webgpu: the device was lost (${reason})`, {
          got: message,
          fix: 'Create a new backend and upload the tensors again',
        }),
      );
    });
  }

  /** Why nothing runs any more. */
  get failure(): TopKError | undefined {
    return this.#failure.error;
  }

  /** Ends all work: recorded steps are dropped, waiters are rejected, free buffers go back to the device. */
  fail(error: TopKError): void {
    if (!this.#failure.set(error)) return;
    this.#steps = [];
    this.pool.trim();
  }

  /** Recorded steps that are not submitted yet. */
  get pending(): number {
    return this.#steps.length;
  }

  /** Counts since creation. */
  get counts(): { readonly launches: number; readonly submissions: number } {
    return this.#submitter.counts;
  }

  launch(launch: Launch): void {
    if (launch.uniforms.byteLength > UNIFORM_BYTES) {
      throw new TopKError('UNSUPPORTED', `webgpu: uniform block of ${launch.kernel.key}`, {
        expected: `at most ${UNIFORM_BYTES} bytes`,
        got: `${launch.uniforms.byteLength} bytes`,
      });
    }
    if (launch.buffers.length !== launch.kernel.buffers.length) {
      throw new TopKError('ENGINE_FAILURE', `webgpu: buffers of ${launch.kernel.key}`, {
        expected: String(launch.kernel.buffers.length),
        got: String(launch.buffers.length),
      });
    }
    this.#record({ kind: 'launch', launch });
    if (this.isDry) return;
    if (this.pipelines.ready(launch.kernel) === undefined && this.failure === undefined) {
      void this.pipelines.get(launch.kernel);
    }
  }

  /** Writes bytes (a multiple of 4), which the caller must leave alone from now on. */
  write(to: Span, data: Uint8Array): void {
    this.#record({ kind: 'write', to, data });
  }

  /**
   * Bytes in a new buffer, copied from `data` before this returns. For large uploads: nothing stays in memory until
   * they are submitted.
   */
  writeFresh(data: Uint8Array): Span {
    this.#failure.throwIfFailed();
    if (this.#recorded !== undefined) {
      // A replay writes it again, because other steps of the recording may use the buffer after it.
      const span = this.scratch(data.byteLength);
      this.write(span, data.slice());
      return span;
    }
    const size = Math.max(4, data.byteLength);
    const span: Span = { buffer: this.pool.acquireFresh(size), offset: 0, size };
    if (!this.isDry) this.#scopes.run(() => this.#submitter.write(span, data));
    return span;
  }

  copy(from: Span, to: Span): void {
    this.#record({ kind: 'copy', from, to });
  }

  /** Zeros. */
  clear(span: Span): void {
    this.#record({ kind: 'clear', span });
  }

  /** Scratch from the pool; return it with `release` as soon as its last user is recorded. */
  scratch(bytes: number): Span {
    const size = Math.max(4, Math.ceil(bytes / 4) * 4);
    if (this.#capture !== undefined) return this.#capture.scratch(size);
    return { buffer: this.pool.acquire(size), offset: 0, size };
  }

  release(span: Span): void {
    if (this.#capture !== undefined) this.#capture.release(span);
    else this.pool.release(span.buffer);
  }

  /** Zeros that stay with the stream, for what calls leave to later ones; cleared now, whatever is recorded. */
  zeros(bytes: number): Span {
    const [capture, recorded] = [this.#capture, this.#recorded];
    this.#capture = undefined;
    this.#recorded = undefined;
    const span = this.scratch(bytes);
    this.clear(span);
    this.#capture = capture;
    this.#recorded = recorded;
    return span;
  }

  /** Destroys a buffer after everything recorded so far. */
  destroyLater(buffer: GPUBuffer): void {
    if (this.failure !== undefined) buffer.destroy();
    else this.#record({ kind: 'destroy', buffer });
  }

  /**
   * Takes down what `body` asks of this stream, without doing it. The same can then be asked for other buffers with
   * `run`: `body` must depend on nothing else. Nothing is read, written afresh or recorded inside.
   *
   * @param given spans of different buffers that the body uses, in whose place `run` takes others
   */
  capture(given: readonly Span[], body: () => void): Program {
    const capture = new Capture(this.#context, given);
    this.#capture = capture;
    try {
      body();
    } finally {
      this.#capture = undefined;
    }
    return capture.program();
  }

  /** @param given in the order of `capture`, as large as there */
  run(program: Program, given: readonly Span[]): void {
    program.run(this, given);
  }

  /** @internal */
  runSegment(segment: Segment, spans: readonly Span[]): void {
    this.#record({ kind: 'segment', segment, spans });
  }

  /** Whether `run` runs here and now, and no steps are kept. */
  get runsPrograms(): boolean {
    return !this.isDry && !this.isRecording;
  }

  /** True while `record` runs its body. */
  get isRecording(): boolean {
    return this.#recorded !== undefined;
  }

  /** @throws TopKError UNSUPPORTED while steps are recorded for replays. */
  requireNotRecording(what: string): void {
    if (!this.isRecording) return;
    throw new TopKError('UNSUPPORTED', `webgpu: ${what} inside of a recorded step`, {
      expected: 'a step that computes tensors from tensors',
      fix: 'Return the tensor from the step and read it afterwards',
    });
  }

  /**
   * Runs `body` once, and keeps its steps for `replay`. Every buffer it used, but those of results, is kept until the
   * recording is disposed of.
   * `replaceable` names what replays change.
   */
  record<R>(
    body: () => R,
    replaceable: (result: R) => Replaceable,
  ): { readonly result: R; readonly recording: Recording } {
    this.#failure.throwIfFailed();
    this.requireNotRecording('recording');
    const steps: Step[] = [];
    this.#recorded = steps;
    this.pool.beginRecording();
    try {
      const result = body();
      this.#failure.throwIfFailed();
      const context = { ...this.#context, pool: this.pool };
      return { result, recording: new Recording(context, steps, replaceable(result)) };
    } finally {
      this.#recorded = undefined;
      this.pool.endRecording();
    }
  }

  /** Runs the steps of a recording again, as described at `Recording.encode`, after everything requested so far. */
  replay(
    recording: Recording,
    seeds: readonly number[],
    isExchanged: boolean,
    results: readonly Span[] = [],
  ): void {
    this.#record({ kind: 'replay', recording, seeds, isExchanged, results });
  }

  /** Starts the recorded work without waiting. */
  flush(): void {
    if (this.#capture !== undefined) {
      this.#capture.flush();
      return;
    }
    if (this.#steps.length === 0) return;
    const steps = this.#steps;
    this.#steps = [];
    const missing: Kernel[] = [];
    for (const step of steps) {
      for (const kernel of neededBy(step)) {
        if (this.pipelines.ready(kernel) === undefined) missing.push(kernel);
      }
    }
    if (missing.length === 0 && this.#delayed === 0) {
      this.#submit(steps);
      return;
    }
    this.#delayed++;
    this.#submitted = this.#submitted.then(async () => {
      try {
        await Promise.all(missing.map((kernel) => this.pipelines.get(kernel)));
        this.#submit(steps);
      } catch (error) {
        this.#failWith(error);
      } finally {
        this.#delayed--;
      }
    });
  }

  /** Waits until everything recorded so far is with the device's queue. Rejects after a failure. */
  async submitted(): Promise<void> {
    this.flush();
    await this.#waiting.during(this.#failure.guard(this.#submitted));
    this.#failure.throwIfFailed();
  }

  /** Waits for everything recorded so far. Rejects after a failure. */
  async finish(): Promise<void> {
    await this.submitted();
    await this.#answered(this.device.queue.onSubmittedWorkDone());
  }

  /**
   * A copy of the bytes, after everything recorded so far.
   *
   * @throws TopKError UNSUPPORTED for a dry stream.
   */
  async read(span: Span): Promise<Uint8Array> {
    this.#failure.throwIfFailed();
    this.requireNotRecording('a read');
    if (this.isDry) {
      throw new TopKError('UNSUPPORTED', 'webgpu, dry: a read', {
        expected: 'work on tensors whose values nobody asks for',
        got: 'a read',
      });
    }
    const reading = this.#readback.start(span, (from, to) => this.copy(from, to));
    try {
      await this.submitted();
      return await this.#answered(reading.bytes());
    } finally {
      reading.end(this.failure !== undefined);
    }
  }

  /** Drops what is recorded, waits for what is submitted and destroys every buffer. Never rejects. */
  async close(): Promise<void> {
    this.fail(new TopKError('DISPOSED', 'webgpu: the backend was disposed of'));
    // Destroying buffers or the device under running work has crashed a process at exit.
    const ended = Promise.race([
      this.device.queue.onSubmittedWorkDone().catch(() => {}),
      this.device.lost.then(() => {}),
    ]);
    await this.#waiting.during(ended);
    this.pool.destroy();
    this.#readback.destroy();
    this.#submitter.destroy();
    this.#bindGroups.clear();
    this.profile?.destroy();
  }

  #record(step: Step): void {
    if (this.failure !== undefined) return;
    if (this.#capture !== undefined) {
      this.#capture.step(step);
      return;
    }
    if (step.kind !== 'destroy') this.#recorded?.push(step);
    if (this.isDry) return;
    this.#steps.push(step);
    // Not before the segment that a program records after releasing its scratch, whose buffers this may destroy.
    if (this.#steps.length >= MOST_PENDING && step.kind !== 'destroy') this.flush();
  }

  /** Waits for a promise of the engine and for the error scopes that are currently open. */
  async #answered<T>(promise: Promise<T>): Promise<T> {
    try {
      const answers = Promise.all([promise, ...this.#scopes.open]);
      const [value] = await this.#waiting.during(this.#failure.guard(answers));
      this.#failure.throwIfFailed();
      return value;
    } catch (error) {
      if (this.failure === undefined) {
        // A lost device rejects its promises; the reason comes from another promise, possibly a little later.
        await Promise.race([this.device.lost, soon()]);
        this.#failWith(error);
      }
      throw this.failure ?? error;
    }
  }

  #failWith(error: unknown): void {
    this.fail(
      error instanceof TopKError
        ? error
        : new TopKError('ENGINE_FAILURE', `webgpu: ${String(error)}`, { cause: error }),
    );
  }

  #submit(steps: readonly Step[]): void {
    if (this.failure !== undefined) return;
    try {
      this.#scopes.run(() => this.#submitter.submit(steps, this.profile));
    } catch (error) {
      this.#failWith(error);
    }
  }
}
