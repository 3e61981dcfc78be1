import { availableParallelism, cpus } from 'node:os';
import { type Backend, TopKError } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import type { BackendInfo, BackendSettings } from '../../backend-settings.js';
import { loadTf } from './load-tf.js';

export interface ChosenBackend {
  readonly backend: Backend;
  readonly info: BackendInfo;
  /** Peak bytes on the GPU, for engines that keep their memory there. */
  readonly gpuBytes?: () => number;
}

export interface ChooseOptions {
  /** Bytes that compiled sessions of ONNX Runtime may keep. Default: the backend's own. */
  readonly sessionBytes?: number;
}

/**
 * The backend that the user asked for. `auto` is WebGPU if a hardware GPU is found, else ONNX Runtime if it can be
 * imported, else the reference backend, which is then reported as a fallback. Loads no package of a backend that is not
 * tried: all together take a third of a second.
 *
 * @throws TopKError MISSING_PEER or NO_DEVICE when an engine was asked for by name and is not available.
 */
export async function chooseBackend(
  settings: BackendSettings,
  { sessionBytes }: ChooseOptions = {},
): Promise<ChosenBackend> {
  const { backend, threads } = settings;
  if (backend === 'reference') return reference();
  if (backend === 'tfjs') return tensorFlow(settings);
  if (backend === 'webgpu') return (await webGpu()).chosen;
  const gpu = backend === 'auto' ? await hardwareGpu() : undefined;
  if (gpu !== undefined) return gpu;
  try {
    return await onnxRuntime(threads ?? availableParallelism(), sessionBytes);
  } catch (error) {
    if (backend === 'onnxruntime' || !(error instanceof TopKError) || error.code !== 'MISSING_PEER')
      throw error;
    return reference(error.message);
  }
}

async function webGpu(): Promise<{ readonly chosen: ChosenBackend; readonly isSoftware: boolean }> {
  const { createWebGpuBackend } = await import('@topk-attention/webgpu');
  let warning: string | undefined;
  const backend = await createWebGpuBackend({
    onWarning: ({ message }) => {
      warning = message;
    },
  });
  const { vendor, architecture, description, isSoftware } = backend.facts;
  const device = description || [vendor, architecture].filter((part) => part !== '').join(' ');
  const info: BackendInfo = {
    backend: 'webgpu',
    description: `WebGPU, ${device || 'unnamed adapter'}`,
    ...(warning !== undefined && { warning }),
  };
  return { chosen: { backend, info, gpuBytes: () => backend.statistics().peakUsedBytes }, isSoftware };
}

/** WebGPU in software is far slower than ONNX Runtime, so it runs only when asked for by name. */
async function hardwareGpu(): Promise<ChosenBackend | undefined> {
  try {
    const { isSoftware, chosen } = await webGpu();
    if (!isSoftware) return chosen;
    await chosen.backend.dispose();
    return undefined;
  } catch (error) {
    if (error instanceof TopKError && (error.code === 'NO_DEVICE' || error.code === 'MISSING_PEER'))
      return undefined;
    throw error;
  }
}

async function onnxRuntime(threads: number, sessionBytes: number | undefined): Promise<ChosenBackend> {
  const { createOnnxRuntimeBackend } = await import('@topk-attention/onnxruntime');
  const backend = await createOnnxRuntimeBackend({
    threads,
    ...(sessionBytes !== undefined && { sessionBytes }),
  });
  const versions = backend.ort.env?.versions ?? {};
  const module = versions.node === undefined ? 'onnxruntime-web' : 'onnxruntime-node';
  const version = versions.node ?? versions.web ?? 'of unknown version';
  const device = backend.executionProviders.join(', ');
  const count = `${threads} thread${threads === 1 ? '' : 's'}`;
  return {
    backend,
    info: {
      backend: 'onnxruntime',
      description: `ONNX Runtime (${module} ${version}), ${device}, ${count}, ${processor()}`,
    },
  };
}

async function tensorFlow({ engine = 'wasm', threads }: BackendSettings): Promise<ChosenBackend> {
  const { createTfjsBackend } = await import('@topk-attention/tfjs');
  const { tf, name, facts } = await loadTf(engine, threads ?? availableParallelism());
  const backend = await createTfjsBackend({ tf, engine: name });
  return {
    backend,
    info: {
      backend: 'tfjs',
      engine,
      description: `TensorFlow.js ${tf.version_core}, ${facts}, ${processor()}`,
    },
    ...(engine === 'webgpu' && { gpuBytes: () => backend.memory().peak ?? backend.memory().live }),
  };
}

function reference(fallback?: string): ChosenBackend {
  return {
    backend: createReferenceBackend(),
    info: {
      backend: 'reference',
      description: `reference backend (plain TypeScript), 1 thread, ${processor()}`,
      ...(fallback !== undefined && { fallback }),
    },
  };
}

function processor(): string {
  return cpus()[0]?.model.trim() || `${process.platform} ${process.arch}`;
}
