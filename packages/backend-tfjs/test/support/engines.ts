import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import type { Tf } from '../../src/index.js';

/** Which engine tf runs is a global of its module: a file of tests, being a process, uses one of these. */
export async function cpuTf(): Promise<Tf> {
  const tf = await import('@tensorflow/tfjs-core');
  await import('@tensorflow/tfjs-backend-cpu');
  await tf.setBackend('cpu');
  await tf.ready();
  return tf;
}

/** One thread: the engine's threads do not start in Node. */
export async function wasmTf(): Promise<Tf> {
  const tf = await import('@tensorflow/tfjs-core');
  const { setWasmPaths } = await import('@tensorflow/tfjs-backend-wasm');
  const main = createRequire(import.meta.url).resolve('@tensorflow/tfjs-backend-wasm');
  setWasmPaths(`${dirname(main)}/`);
  await tf.setBackend('wasm');
  await tf.ready();
  return tf;
}
