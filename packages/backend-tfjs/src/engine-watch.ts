import { TopKError } from '@topk-attention/core';
import type { Engine } from './engine.js';

/** What is used of the device of tfjs's WebGPU engine. */
interface Device {
  readonly lost: Promise<{ readonly reason: string; readonly message: string }>;
  addEventListener(type: 'uncapturederror', listener: (event: { readonly error: object }) => void): void;
}

/** What is used of the context of tfjs's WebGL engine. */
interface Context {
  getError(): number;
  isContextLost(): boolean;
}

interface Failures {
  /** In order; a new backend on the same engine starts behind those before it. */
  readonly found: TopKError[];
  /** The engine is gone for good. */
  lost: TopKError | undefined;
  /** Asks an engine that does not report by itself. */
  readonly poll: () => void;
}

const watched = new WeakMap<object, Failures>();

/**
 * Finds what tfjs's GPU engines do not throw. WebGPU drops the work after an error and reads zeros, WebGL sets a flag:
 * tfjs looks at neither. Returns the first failure of the engine since the call, which spoils the backend's tensors.
 */
export function watchEngine(engine: Engine): () => TopKError | undefined {
  const failures = failuresOf(engine);
  const from = failures.found.length;
  return () => {
    failures.poll();
    return failures.lost ?? failures.found[from];
  };
}

function failuresOf({ tf, name }: Engine): Failures {
  const own: object = tf.backend();
  const known = watched.get(own);
  if (known) return known;
  const found: TopKError[] = [];
  const failures: Failures = { found, lost: undefined, poll: () => {} };
  watched.set(own, failures);
  if (name === 'webgpu' && 'device' in own && isDevice(own.device)) watchDevice(own.device, failures);
  if (name === 'webgl' && 'gpgpu' in own && hasContext(own.gpgpu)) {
    const { gl } = own.gpgpu;
    const polling: Failures = { ...failures, poll: () => pollContext(gl, polling) };
    watched.set(own, polling);
    return polling;
  }
  return failures;
}

function watchDevice(device: Device, failures: Failures): void {
  device.addEventListener('uncapturederror', ({ error }) => {
    const message = 'message' in error ? String(error.message) : '';
    const isMemory = error.constructor.name === 'GPUOutOfMemoryError';
    failures.found.push(
      new TopKError(
        isMemory ? 'OUT_OF_MEMORY' : 'ENGINE_FAILURE',
        "tfjs-webgpu: the device reported an error of tf's",
        {
          got: message,
          fix: 'Create the backend again, and its tensors; smaller tensors or a smaller queryChunk may fit',
        },
      ),
    );
  });
  void device.lost.then(({ reason, message }) => {
    failures.lost = new TopKError('DEVICE_LOST', `tfjs-webgpu: the device was lost (${reason})`, {
      got: message,
      fix: "Remove tf's engine (tf.removeBackend), register it again and create the backend again",
    });
  });
}

const OUT_OF_MEMORY = 0x0505;
const CONTEXT_LOST = 0x9242;

function pollContext(gl: Context, failures: Failures): void {
  const code = gl.getError();
  if (code === CONTEXT_LOST || gl.isContextLost()) {
    failures.lost ??= new TopKError('DEVICE_LOST', 'tfjs-webgl: the WebGL context was lost', {
      fix: "Remove tf's engine (tf.removeBackend), register it again and create the backend again",
    });
  } else if (code !== 0) {
    failures.found.push(
      new TopKError(
        code === OUT_OF_MEMORY ? 'OUT_OF_MEMORY' : 'ENGINE_FAILURE',
        'tfjs-webgl: WebGL reported an error',
        {
          got: `error 0x${code.toString(16)}`,
          fix: 'Create the backend again, and its tensors; smaller tensors or a smaller queryChunk may fit',
        },
      ),
    );
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
    'getError' in value.gl
  );
}
