import { availableParallelism, cpus } from 'node:os';
import { type Backend, TopKError } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { createOnnxRuntimeBackend } from '@topk-attention/onnxruntime';
import type { EngineInfo, EngineSettings } from './types.js';

export interface ChosenBackend extends Pick<EngineInfo, 'description' | 'fallback'> {
  readonly backend: Backend;
  readonly name: EngineInfo['backend'];
}

/**
 * The backend that the user asked for. `auto` is ONNX Runtime where it can be imported, else the reference backend, and
 * says so.
 *
 * @throws TopKError MISSING_PEER when ONNX Runtime was asked for by name and cannot be imported.
 */
export async function chooseBackend({ backend, threads }: EngineSettings): Promise<ChosenBackend> {
  if (backend === 'reference') return reference();
  try {
    return await onnxRuntime(threads ?? availableParallelism());
  } catch (error) {
    if (backend === 'onnxruntime' || !(error instanceof TopKError) || error.code !== 'MISSING_PEER')
      throw error;
    return { ...reference(), fallback: error.message };
  }
}

async function onnxRuntime(threads: number): Promise<ChosenBackend> {
  const backend = await createOnnxRuntimeBackend({ threads });
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
