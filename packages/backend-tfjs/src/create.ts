import { aBoolean, aString, checkedLater, type OptionKinds, readOptions } from '@topk-attention/core';
import { TfjsBackend } from './backend.js';
import { engineOf, noEngine, registeredEngines, requireTf } from './engine/engine.js';
import { needsOf } from './engine/needs.js';
import type { Tf } from './tf.js';

export interface TfjsOptions {
  /** The caller's TensorFlow.js, with the package of at least one engine imported. */
  readonly tf: Tf;
  /**
   * The engine to run, by tf's name: 'cpu', 'wasm', 'webgl', 'webgpu' or 'tensorflow'. Chosen with `tf.setBackend`, so
   * for all users of this tf, which runs one engine at a time. Default: the one tf runs, or would choose.
   */
  readonly engine?: string;
  /** False composes all operations from primitives. Default true. */
  readonly fused?: boolean;
}

const kinds: OptionKinds<TfjsOptions> = { tf: checkedLater(), engine: aString, fused: aBoolean };

/**
 * A backend on the caller's TensorFlow.js.
 *
 * @throws TopKError MISSING_PEER without a tf; INVALID_OPTION for anything other than tf; NO_DEVICE when the engine is
 * not registered or does not start.
 * @example
 * import * as tf from '@tensorflow/tfjs-core';
 * import '@tensorflow/tfjs-backend-wasm';
 * const backend = await createTfjsBackend({ tf, engine: 'wasm' });
 */
export async function createTfjsBackend(options: TfjsOptions): Promise<TfjsBackend> {
  const { tf: given, engine, fused = true } = readOptions('createTfjsBackend', options, kinds);
  const tf = requireTf(given);
  if (registeredEngines(tf).length === 0) throw noEngine(tf, 'tf has no engine');
  await startEngine(tf, engine);
  return new TfjsBackend(engineOf(tf), { fused });
}

async function startEngine(tf: Tf, engine: string | undefined): Promise<void> {
  const what = engine === undefined ? "tf's engine does not start" : `tf's engine '${engine}' does not start`;
  if (engine !== undefined && !registeredEngines(tf).includes(engine)) {
    throw noEngine(tf, `tf has no engine '${engine}'`, { wanted: engine });
  }
  let isReady = true;
  try {
    if (engine !== undefined && tf.getBackend() !== engine) isReady = await tf.setBackend(engine);
    await tf.ready();
  } catch (cause) {
    throw noEngine(tf, what, { cause, needs: await needsOf(engine ?? '') });
  }
  if (!isReady) throw noEngine(tf, what, { needs: await needsOf(engine ?? '') });
}
