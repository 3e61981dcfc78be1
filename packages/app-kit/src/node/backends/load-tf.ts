import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { TopKError } from '@topk-attention/core';
import type { Tf } from '@topk-attention/tfjs';
import type { TfjsEngine } from '../../backend-settings.js';

export interface LoadedTf {
  readonly tf: Tf;
  /** What tf itself calls the engine. */
  readonly name: string;
  /** The engine for people. */
  readonly facts: string;
}

/**
 * TensorFlow.js with one engine, imported on demand.
 *
 * @throws TopKError MISSING_PEER, with what to install.
 */
export function loadTf(engine: TfjsEngine, threads: number): Promise<LoadedTf> {
  return loaders[engine](threads);
}

const loaders: { readonly [E in TfjsEngine]: (threads: number) => Promise<LoadedTf> } = {
  async cpu() {
    const tf = await tfWith('@tensorflow/tfjs-backend-cpu', () => import('@tensorflow/tfjs-backend-cpu'));
    return { tf, name: 'cpu', facts: 'cpu (plain JavaScript), 1 thread' };
  },

  // It looks for its .wasm files beside its own code. In Node it has no threads.
  async wasm() {
    const tf = await tfWith('@tensorflow/tfjs-backend-wasm', () => import('@tensorflow/tfjs-backend-wasm'));
    const hasSimd = await tf.env().getAsync('WASM_HAS_SIMD_SUPPORT');
    return { tf, name: 'wasm', facts: `wasm (${hasSimd ? 'SIMD' : 'no SIMD'}), 1 thread` };
  },

  async webgpu() {
    await provideGpu();
    const tf = await tfWith(
      '@tensorflow/tfjs-backend-webgpu',
      () => import('@tensorflow/tfjs-backend-webgpu'),
    );
    return { tf, name: 'webgpu', facts: 'webgpu' };
  },

  async node(threads) {
    // TensorFlow reads these when its library loads. Its notes on the processor help nobody here.
    process.env.TF_NUM_INTRAOP_THREADS ??= String(threads);
    process.env.TF_NUM_INTEROP_THREADS ??= '1';
    process.env.TF_CPP_MIN_LOG_LEVEL ??= '2';
    const util: { isNullOrUndefined?: unknown } = require('node:util');
    // tfjs-node 4.22 calls it, but Node 23 removed it.
    util.isNullOrUndefined ??= (value: unknown) => value === null || value === undefined;
    const tf = await imported('@tensorflow/tfjs-node', nodeFix, async (): Promise<Tf> => require(tfjsNode()));
    const backend: object = tf.backend();
    const isCuda = 'isUsingGpuDevice' in backend && backend.isUsingGpuDevice === true;
    const count = process.env.TF_NUM_INTRAOP_THREADS;
    const device = isCuda ? 'CUDA' : `${count} thread${count === '1' ? '' : 's'}`;
    return { tf, name: 'tensorflow', facts: `node (TensorFlow), ${device}` };
  },
};

/** tfjs-node is a CommonJS package that need not be one of ours. */
const require: NodeJS.Require = createRequire(import.meta.url);
const nodeFix =
  'Run npm install @tensorflow/tfjs-node, or node tooling/tfjs-node/build.mjs in this repository, or name the folder of ' +
  'an installed one in TOPK_TFJS_NODE; see docs/cuda.md';

/** tfjs-core with an engine registered. */
async function tfWith(name: string, register: () => Promise<unknown>): Promise<Tf> {
  const fix = `Run npm install @tensorflow/tfjs-core ${name}`;
  const tf = await imported('@tensorflow/tfjs-core', fix, () => import('@tensorflow/tfjs-core'));
  await imported(name, fix, register);
  return tf;
}

/** tfjs looks for `navigator.gpu` when its engine is imported. */
async function provideGpu(): Promise<void> {
  const fix = 'Run npm install webgpu';
  const { create, globals } = await imported('webgpu', fix, () => import('webgpu'));
  Object.assign(globalThis, globals);
  // Dawn crashes if this object is collected before its devices, so it stays a global.
  const gpu = create([]);
  Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true });
  if ((await gpu.requestAdapter()) !== null) return;
  throw new TopKError('NO_DEVICE', 'tfjs: engine webgpu found no adapter', {
    expected: 'a GPU with Vulkan, Metal or D3D12',
    got: 'none',
    fix: 'Install a GPU driver, or use --engine wasm',
  });
}

async function imported<T>(name: string, fix: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (cause) {
    throw new TopKError('MISSING_PEER', `tfjs: ${name} cannot be imported`, {
      got: cause instanceof Error ? (cause.message.split('\n')[0] as string) : String(cause),
      fix,
      cause,
    });
  }
}

/** Where tfjs-node is: the path in TOPK_TFJS_NODE, an installed package, or the build in this repository. */
function tfjsNode(): string {
  const { TOPK_TFJS_NODE: named } = process.env;
  if (named) return resolve(named);
  for (const name of ['@tensorflow/tfjs-node-gpu', '@tensorflow/tfjs-node']) {
    try {
      return require.resolve(name);
    } catch {
      // Not installed: try the next.
    }
  }
  const cache = fileURLToPath(new URL('../../../../../node_modules/.cache/topk-attention/', import.meta.url));
  const built = (existsSync(cache) ? readdirSync(cache) : [])
    .filter((name) => name.startsWith('tfjs-node-'))
    .find((name) => existsSync(join(cache, name, 'build.json')));
  if (built === undefined) return '@tensorflow/tfjs-node';
  return join(cache, built, 'node_modules/@tensorflow/tfjs-node');
}
