import { TopKError } from '@topk-attention/core';
import type { DeviceLimits } from '@topk-attention/core/backend';
import type { Tf } from '../tf.js';
import { limitsOf } from './limits.js';
import type { EngineNeeds } from './needs.js';
import { isOnCuda } from './on-cuda.js';
import { type EngineTraits, traitsOf } from './traits.js';
import { guardWasmMemory } from './wasm-memory.js';

/** What this package's ops need: the caller's tf, and what is known about the engine it runs. */
export interface Engine {
  readonly tf: Tf;
  /** As tf names it: 'cpu', 'wasm', 'webgl', 'webgpu' or 'tensorflow' (tfjs-node and tfjs-node-gpu). */
  readonly name: string;
  /** @internal */
  readonly traits: EngineTraits;
  readonly limits: DeviceLimits;
}

/** By tf module and engine: an engine that was removed and registered again may have another device. */
const known = new WeakMap<Tf, WeakMap<object, Engine>>();

/**
 * The engine that `tf` runs now. Creates nothing and waits for nothing.
 *
 * @throws TopKError MISSING_PEER without a tf; INVALID_OPTION for anything other than tf; NO_DEVICE when no engine is
 * registered or the one chosen is not ready.
 */
export function engineOf(tf: Tf): Engine {
  const name = requireTf(tf).getBackend() || startEngine(tf);
  const traits = traitsOf(name, isOnCuda(tf) ? 'cuda' : 'other');
  const engines = known.get(tf) ?? new WeakMap<object, Engine>();
  known.set(tf, engines);
  const before = engines.get(tf.backend());
  if (before?.name === name && before.traits === traits) return before;
  if (traits.overrunsMemory) guardWasmMemory(tf);
  const engine: Engine = { tf, name, traits, limits: limitsOf(tf, traits) };
  engines.set(tf.backend(), engine);
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
    throw new TopKError('INVALID_OPTION', 'tf is not TensorFlow.js', {
      expected: 'the module @tensorflow/tfjs-core, @tensorflow/tfjs, tfjs-node or tfjs-node-gpu, ^4.22.0',
      got: `${typeof given} without ${missing.join(', ')}`,
      fix: "import * as tf from '@tensorflow/tfjs' and pass tf",
    });
  }
  return tf;
}

/** Names of the engines registered with this tf: importing an engine's package registers it. */
export function registeredEngines(tf: Tf): readonly string[] {
  return Object.keys(tf.engine().registryFactory);
}

interface NoEngine {
  readonly cause?: unknown;
  /** The requested engine, which is not registered. */
  readonly wanted?: string;
  /** What the engine is known to lack. */
  readonly needs?: EngineNeeds | undefined;
}

export function noEngine(tf: Tf, what: string, { cause, wanted, needs }: NoEngine = {}): TopKError {
  if (needs !== undefined) return new TopKError('NO_DEVICE', what, { ...needs, cause });
  const registered = registeredEngines(tf);
  const [first] = registered;
  const source = wanted === undefined ? undefined : traitsOf(wanted).package;
  const howToStart =
    first === undefined
      ? `Import one, for example '${traitsOf('wasm').package}', and await tf.ready()`
      : `await tf.setBackend('${first}') and await tf.ready() first`;
  return new TopKError('NO_DEVICE', what, {
    expected: 'an engine of tf that is registered and ready',
    got: registered.length === 0 ? 'none registered' : `registered: ${registered.join(', ')}`,
    fix: source === undefined ? howToStart : `Import '${source}' first, or ask for one that is registered`,
    cause,
  });
}

/** tf starts an engine when it is first asked for, unless starting it has to be awaited. */
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
