import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type * as core from '@tensorflow/tfjs-core';

export type Tf = typeof core;
export type { Tensor as TfTensor } from '@tensorflow/tfjs-core';

export const engineNames = ['node', 'cpu', 'wasm', 'webgpu'] as const;
export type EngineName = (typeof engineNames)[number];

export interface Loaded {
  readonly tf: Tf;
  /** Package and version, and what it runs on. */
  readonly description: string;
}

/** TensorFlow.js with one engine running. Which one is a global of tf, so a process measures one. */
export async function loadEngine(name: EngineName, threads: number): Promise<Loaded> {
  switch (name) {
    case 'node':
      return loadNode(threads);
    case 'cpu':
      await import('@tensorflow/tfjs-backend-cpu');
      return started('cpu', 'plain JavaScript, one thread');
    case 'wasm': {
      const wasm = await import('@tensorflow/tfjs-backend-wasm');
      const folder = dirname(fileURLToPath(import.meta.resolve('@tensorflow/tfjs-backend-wasm')));
      wasm.setWasmPaths(join(folder, '/'));
      return started('wasm', 'SIMD, one thread');
    }
    case 'webgpu':
      return loadWebGpu();
    default:
      name satisfies never;
      throw new Error(`no engine is called ${String(name)}`);
  }
}

async function started(name: string, note: string): Promise<Loaded> {
  const tf = await import('@tensorflow/tfjs-core');
  if (!(await tf.setBackend(name))) throw new Error(`tfjs did not start its engine ${name}`);
  await tf.ready();
  return { tf, description: `@tensorflow/tfjs-backend-${name} ${tf.version_core}, ${note}` };
}

/** tfjs-node: of `TOPK_TFJS_NODE` (the package's folder), or the one that tooling/tfjs-node built. */
async function loadNode(threads: number): Promise<Loaded> {
  // Read when TensorFlow starts.
  process.env.TF_NUM_INTRAOP_THREADS = String(threads);
  process.env.TF_NUM_INTEROP_THREADS = '1';
  process.env.TF_CPP_MIN_LOG_LEVEL ??= '2';
  const folder = process.env.TOPK_TFJS_NODE ?? builtTfjsNode();
  const require = createRequire(pathToFileURL(join(folder, 'package.json')));
  const tf = require(folder) as Tf & { version: Record<string, string> };
  await tf.ready();
  const backend: { binding?: { TF_Version?: string } } = Object.assign(Object.create(null), tf.backend());
  const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { version: string };
  return {
    tf,
    description: `@tensorflow/tfjs-node ${version}, TensorFlow ${backend.binding?.TF_Version ?? '?'}, ${threads} threads`,
  };
}

function builtTfjsNode(): string {
  const root = fileURLToPath(new URL('../../..', import.meta.url));
  const cache = join(root, 'node_modules', '.cache', 'topk-attention');
  const built = readdirSync(cache).filter((one) => one.startsWith('tfjs-node-'));
  const [last] = built.sort().reverse();
  if (last === undefined) {
    throw new Error(
      'tfjs-node is not built here. Run `node tooling/tfjs-node/build.mjs`, or name its folder in TOPK_TFJS_NODE',
    );
  }
  return join(cache, last, 'node_modules', '@tensorflow', 'tfjs-node');
}

async function loadWebGpu(): Promise<Loaded> {
  const gpu = await import('webgpu');
  Object.assign(globalThis, gpu.globals);
  Object.defineProperty(globalThis, 'navigator', {
    value: { gpu: gpu.create([]), userAgent: 'node' },
    configurable: true,
  });
  await import('@tensorflow/tfjs-backend-webgpu');
  return started('webgpu', 'Dawn through the webgpu package');
}
