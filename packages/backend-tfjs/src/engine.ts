import { type DeviceLimits, TopKError } from '@topk-attention/core';
import type { EngineNeeds } from './engine-needs.js';
import { withDevice } from './gpu-limits.js';
import { limitsOf } from './limits.js';
import type { Tf } from './tf.js';
import { guardWasmMemory } from './wasm-memory.js';

/** What the ops of this package need: the caller's tf, which of its engines runs, and what was measured of it. */
export interface Engine {
  readonly tf: Tf;
  /** As tf names it: 'cpu', 'wasm', 'webgl', 'webgpu' or 'tensorflow' (tfjs-node and tfjs-node-gpu). */
  readonly name: string;
  readonly limits: DeviceLimits;
}

const known = new WeakMap<Tf, Map<string, Engine>>();

/**
 * The engine that `tf` runs now. Makes nothing and waits for nothing.
 *
 * @throws TopKError MISSING_PEER without a tf; INVALID_OPTION for something else than tf; NO_DEVICE when no engine is
 * registered or the one chosen is not ready.
 */
export function engineOf(tf: Tf): Engine {
  const name = requireTf(tf).getBackend() || startEngine(tf);
  if (name === 'wasm') guardWasmMemory(tf);
  const engines = known.get(tf) ?? new Map<string, Engine>();
  const engine = engines.get(name) ?? { tf, name, limits: withDevice(tf, name, limitsOf(name)) };
  known.set(tf, engines.set(name, engine));
  return engine;
}

/** @throws TopKError MISSING_PEER without a tf; INVALID_OPTION for something else. */
export function requireTf(tf: Tf): Tf {
  const given: unknown = tf;
  if (given === undefined || given === null) {
    throw new TopKError('MISSING_PEER', 'no TensorFlow.js was given', {
      expected: '{ tf }, for example @tensorflow/tfjs ^4.22.0',
      got: String(given),
      fix: "Install it (npm install @tensorflow/tfjs@^4.22.0), import * as tf from '@tensorflow/tfjs', and pass it",
    });
  }
  const missing = ['getBackend', 'setBackend', 'ready', 'engine', 'tidy', 'keep', 'topk', 'scatterND'].filter(
    (name) => !isCallable(given, name),
  );
  if (missing.length > 0) {
    throw new TopKError('INVALID_OPTION', 'what was given as tf is not TensorFlow.js', {
      expected: 'the module @tensorflow/tfjs-core, @tensorflow/tfjs, tfjs-node or tfjs-node-gpu, ^4.22.0',
      got: `${typeof given} without ${missing.join(', ')}`,
      fix: "import * as tf from '@tensorflow/tfjs' and pass tf",
    });
  }
  return tf;
}

/** Engines that are registered with this tf: importing their package does that. */
export function registeredEngines(tf: Tf): readonly string[] {
  return Object.keys(tf.engine().registryFactory);
}

/** The packages whose import registers an engine. */
const packages: Readonly<Partial<Record<string, string>>> = {
  cpu: '@tensorflow/tfjs-backend-cpu',
  wasm: '@tensorflow/tfjs-backend-wasm',
  webgl: '@tensorflow/tfjs-backend-webgl',
  webgpu: '@tensorflow/tfjs-backend-webgpu',
  tensorflow: '@tensorflow/tfjs-node',
};

interface NoEngine {
  readonly cause?: unknown;
  /** The engine that was asked for by name and is not registered. */
  readonly wanted?: string;
  /** What is known to be missing. */
  readonly needs?: EngineNeeds | undefined;
}

export function noEngine(tf: Tf, what: string, { cause, wanted, needs }: NoEngine = {}): TopKError {
  if (needs !== undefined) return new TopKError('NO_DEVICE', what, { ...needs, cause });
  const registered = registeredEngines(tf);
  const [first] = registered;
  const source = wanted === undefined ? undefined : packages[wanted];
  const howToStart =
    first === undefined
      ? `Import one, for example '${packages.wasm}', and await tf.ready()`
      : `await tf.setBackend('${first}') and await tf.ready() first`;
  return new TopKError('NO_DEVICE', what, {
    expected: 'an engine of tf that is registered and ready',
    got: registered.length === 0 ? 'none registered' : `registered: ${registered.join(', ')}`,
    fix: source === undefined ? howToStart : `Import '${source}' first, or ask for one that is registered`,
    cause,
  });
}

/** tf starts an engine that needs no waiting by itself when it is first asked for; others it refuses. */
function startEngine(tf: Tf): string {
  if (registeredEngines(tf).length === 0) throw noEngine(tf, 'tf has no engine');
  try {
    tf.backend();
  } catch (error) {
    throw noEngine(tf, "tf's engine is not ready", { cause: error });
  }
  return tf.getBackend();
}

function isCallable(value: unknown, name: string): boolean {
  return (
    ((typeof value === 'object' && value !== null) || typeof value === 'function') &&
    typeof Reflect.get(value, name) === 'function'
  );
}
