import { availableParallelism, cpus } from 'node:os';
import { type Backend, TopKError } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { createOnnxRuntimeBackend } from '@topk-attention/onnxruntime';
import { createTfjsBackend } from '@topk-attention/tfjs';
import { createWebGpuBackend } from '@topk-attention/webgpu';
import { loadTf } from './load-tf.js';
import type { EngineInfo, EngineSettings } from './types.js';

export interface ChosenBackend extends Pick<EngineInfo, 'engine' | 'description' | 'fallback' | 'warning'> {
  readonly backend: Backend;
  readonly name: EngineInfo['backend'];
  /** Peak of the bytes on the GPU, for engines whose memory is there. */
  readonly gpuBytes?: () => number;
}

/**
 * The backend that the user asked for. `auto` is WebGPU where a GPU is found (never one in software), else ONNX Runtime
 * where it can be imported, else the reference backend, and says so.
 *
 * @throws TopKError MISSING_PEER or NO_DEVICE when an engine was asked for by name and is not there.
 */
export async function chooseBackend(settings: EngineSettings): Promise<ChosenBackend> {
  const { backend, threads, isPlain = false } = settings;
  if (backend === 'reference') return reference();
  if (backend === 'tfjs') return tensorFlow(settings);
  if (backend === 'webgpu') return webGpu();
  const gpu = backend === 'auto' ? await hardwareGpu() : undefined;
  if (gpu !== undefined) return gpu;
  try {
    return await onnxRuntime(threads ?? availableParallelism(), isPlain);
  } catch (error) {
    if (backend === 'onnxruntime' || !(error instanceof TopKError) || error.code !== 'MISSING_PEER')
      throw error;
    return { ...reference(), fallback: error.message };
  }
}

async function webGpu(): Promise<ChosenBackend & { readonly isSoftware: boolean }> {
  let warning: string | undefined;
  const backend = await createWebGpuBackend({
    onWarning: ({ message }) => {
      warning = message;
    },
  });
  const { vendor, architecture, description, isSoftware } = backend.facts;
  const device = description || [vendor, architecture].filter((part) => part !== '').join(' ');
  return {
    backend,
    name: 'webgpu',
    description: `WebGPU, ${device || 'unnamed adapter'}`,
    ...(warning !== undefined && { warning }),
    gpuBytes: () => backend.statistics().peakUsedBytes,
    isSoftware,
  };
}

/** WebGPU in software is far slower than ONNX Runtime, so it runs only where it is asked for by name. */
async function hardwareGpu(): Promise<ChosenBackend | undefined> {
  try {
    const { isSoftware, ...chosen } = await webGpu();
    if (!isSoftware) return chosen;
    await chosen.backend.dispose();
    return undefined;
  } catch (error) {
    if (error instanceof TopKError && (error.code === 'NO_DEVICE' || error.code === 'MISSING_PEER'))
      return undefined;
    throw error;
  }
}

async function onnxRuntime(threads: number, isPlain: boolean): Promise<ChosenBackend> {
  // A session with all scores is larger than what all sessions may keep by default: it would be made anew in every layer.
  const limits = isPlain ? { sessionBytes: Number.MAX_SAFE_INTEGER } : {};
  const backend = await createOnnxRuntimeBackend({ threads, ...limits });
  const versions = backend.ort.env?.versions ?? {};
  const module = versions.node === undefined ? 'onnxruntime-web' : 'onnxruntime-node';
  const version = versions.node ?? versions.web ?? 'of unknown version';
  const device = backend.executionProviders.join(', ');
  return {
    backend,
    name: 'onnxruntime',
    description: `ONNX Runtime (${module} ${version}), ${device}, ${plural(threads, 'thread')}, ${processor()}`,
  };
}

async function tensorFlow({ engine = 'wasm', threads }: EngineSettings): Promise<ChosenBackend> {
  const { tf, name, facts } = await loadTf(engine, threads ?? availableParallelism());
  const backend = await createTfjsBackend({ tf, engine: name });
  return {
    backend,
    ...(engine === 'webgpu' && { gpuBytes: () => backend.memory().peak ?? backend.memory().live }),
    name: 'tfjs',
    engine,
    description: `TensorFlow.js ${tf.version_core}, ${facts}, ${processor()}`,
  };
}

function reference(): ChosenBackend {
  return {
    backend: createReferenceBackend(),
    name: 'reference',
    description: `reference backend (plain TypeScript), 1 thread, ${processor()}`,
  };
}

function processor(): string {
  return cpus()[0]?.model.trim() || `${process.platform} ${process.arch}`;
}

function plural(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? '' : 's'}`;
}
