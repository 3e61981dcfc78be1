import { type TensorData, TopKError } from '@topk-attention/core';
import type { TfTensor } from '../tf.js';
import type { Engine } from './engine.js';

/** The part of the WebGPU engine's device that is used here. */
interface Device {
  readonly lost: Promise<{ readonly reason: string; readonly message: string }>;
  addEventListener(type: 'uncapturederror', listener: (event: { readonly error: object }) => void): void;
}

/** The part of the WebGL engine's context that is used here. */
interface Context {
  readonly canvas: { addEventListener(type: 'webglcontextlost', listener: () => void): void };
  getError(): number;
  isContextLost(): boolean;
}

/** The failures of one engine of tf, shared by all backends on it. */
class Failures {
  /** In order; a new backend ignores earlier ones. */
  readonly found: TopKError[] = [];
  /** Rejects callers that wait for the engine, and would wait forever once it is gone. */
  readonly waiting: Set<(lost: TopKError) => void> = new Set();
  #lost: TopKError | undefined;
  readonly #context: Context | undefined;

  constructor({ tf, traits: { gpu } }: Engine) {
    const engine: object = tf.backend();
    if (gpu === 'GPUDevice' && 'device' in engine && isDevice(engine.device)) this.#watch(engine.device);
    if (gpu === 'WebGL context' && 'gpgpu' in engine && hasContext(engine.gpgpu)) {
      this.#context = engine.gpgpu.gl;
      this.#context.canvas.addEventListener('webglcontextlost', () => this.isLost());
    }
  }

  /** Why the engine is gone for good. */
  isLost(): TopKError | undefined {
    if (this.#lost === undefined && this.#context?.isContextLost()) {
      this.#lose(
        new TopKError('DEVICE_LOST', 'tfjs-webgl: the WebGL context was lost', { fix: START_AGAIN }),
      );
    }
    return this.#lost;
  }

  /** Asks WebGL for errors, which it does not report on its own. */
  poll(): void {
    const code = this.#context?.getError() ?? 0;
    if (code !== 0 && this.isLost() === undefined) {
      this.#find(
        code === OUT_OF_MEMORY,
        'tfjs-webgl: WebGL reported an error',
        `error 0x${code.toString(16)}`,
      );
    }
  }

  #watch(device: Device): void {
    device.addEventListener('uncapturederror', ({ error }) => {
      const message = 'message' in error ? String(error.message) : '';
      const isMemory = error.constructor.name === 'GPUOutOfMemoryError';
      this.#find(isMemory, "tfjs-webgpu: the device reported an error in tf's work", message);
    });
    void device.lost.then(({ reason, message }) => {
      const what = `tfjs-webgpu: the device was lost (${reason})`;
      this.#lose(new TopKError('DEVICE_LOST', what, { got: message, fix: START_AGAIN }));
    });
  }

  #find(isMemory: boolean, what: string, got: string): void {
    const fix = 'Create the backend again, and its tensors; smaller tensors or a smaller queryChunk may fit';
    this.found.push(new TopKError(isMemory ? 'OUT_OF_MEMORY' : 'ENGINE_FAILURE', what, { got, fix }));
  }

  #lose(error: TopKError): void {
    this.#lost = error;
    for (const reject of this.waiting) reject(error);
  }
}

const START_AGAIN =
  "Remove tf's engine (tf.removeBackend), register it again and create the backend and its tensors again";
const OUT_OF_MEMORY = 0x0505;

const watched = new WeakMap<object, Failures>();

/**
 * Finds failures of tf's GPU engines that tf does not throw: after an error WebGPU drops the work and reads zeros,
 * WebGL sets a flag, and reads from a lost context never end. The first failure after the watch began fails all later
 * reads, since it is not known which tensors are affected.
 */
export class EngineWatch {
  readonly #failures: Failures;
  readonly #from: number;

  constructor(engine: Engine) {
    const own: object = engine.tf.backend();
    this.#failures = watched.get(own) ?? new Failures(engine);
    watched.set(own, this.#failures);
    this.#from = this.#failures.found.length;
  }

  /** @throws TopKError DEVICE_LOST once the engine is gone; its ops would throw unrelated errors. */
  throwIfLost(): void {
    const lost = this.#failures.isLost();
    if (lost !== undefined) throw lost;
  }

  /**
   * The values of a tensor, which may be the engine's own array.
   *
   * @throws TopKError DEVICE_LOST, OUT_OF_MEMORY or ENGINE_FAILURE when the engine failed since the watch began.
   */
  async read(tensor: TfTensor): Promise<TensorData> {
    this.throwIfLost();
    const { waiting } = this.#failures;
    let stop: (lost: TopKError) => void = () => {};
    const lost = new Promise<never>((_, reject) => {
      stop = reject;
    });
    waiting.add(stop);
    try {
      const values = await Promise.race([tensor.data(), lost]);
      this.#failures.poll();
      this.#throwIfFailed();
      return values;
    } catch (error) {
      // A lost device rejects pending reads; the reason arrives through another promise, possibly a little later.
      await new Promise((resolve) => setTimeout(resolve, 0));
      this.#throwIfFailed();
      throw error;
    } finally {
      waiting.delete(stop);
    }
  }

  #throwIfFailed(): void {
    this.throwIfLost();
    const failure = this.#failures.found[this.#from];
    if (failure !== undefined) throw failure;
  }
}

function isDevice(value: unknown): value is Device {
  return typeof value === 'object' && value !== null && 'lost' in value && 'addEventListener' in value;
}

function hasContext(value: unknown): value is { readonly gl: Context } {
  return (
    typeof value === 'object' &&
    value !== null &&
    'gl' in value &&
    typeof value.gl === 'object' &&
    value.gl !== null &&
    'getError' in value.gl &&
    'canvas' in value.gl
  );
}
