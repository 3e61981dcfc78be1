// Runs in the page: conformance cases on the browser's own GPU. The test reads the results from the window.
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-webgl';
import '@tensorflow/tfjs-backend-webgpu';
import { type CaseReport, runConformance, sampleCases } from '@topk-attention/conformance';
import { add, tensor } from '@topk-attention/core';
import { createTfjsBackend } from '../../../src/index.js';
import { gpuCases, quickGroups, SOFTWARE_GPU_CALLS, SOFTWARE_GPU_RUNS } from '../gpu-cases.js';

export interface PageResult {
  /** The engine that tf ran. */
  readonly engine: string;
  readonly reports: readonly CaseReport[];
}

/** A part of the suite. */
async function runPart(
  engine: 'webgl' | 'webgpu',
  goldens: string,
  part: 'quick' | 'rest',
): Promise<PageResult> {
  // By itself tfjs computes small tensors on the CPU, which is most of what the cases have.
  tf.env().set('WEBGPU_CPU_FORWARD', false);
  tf.env().set('WEBGL_CPU_FORWARD', false);
  const all = await gpuCases(engine, { goldens: new URL(goldens) });
  const chosen = all.filter(({ group }) => quickGroups.has(group) === (part === 'quick'));
  // On WebGPU, Chromium has the Dawn and the SwiftShader that all of these run on in Node.
  const cases = engine === 'webgpu' ? sampleCases(chosen, 3) : chosen;
  const createBackend = () => createTfjsBackend({ tf, engine });
  const reports = await runConformance(
    {
      name: `tfjs-${engine}`,
      runs: SOFTWARE_GPU_RUNS[engine],
      calls: SOFTWARE_GPU_CALLS,
      createBackend,
    },
    cases,
  );
  return { engine: tf.getBackend(), reports };
}

/** What is used of a WebGLRenderingContext. */
interface Context {
  getExtension(name: 'WEBGL_lose_context'): { loseContext(): void } | null;
}

/** What reading after the loss of the WebGL context rejects with. */
async function loseContext(): Promise<{
  readonly before: number[];
  readonly code: unknown;
  readonly later: unknown;
}> {
  tf.env().set('WEBGL_CPU_FORWARD', false);
  const backend = await createTfjsBackend({ tf, engine: 'webgl' });
  const x = tensor(backend, [1, 2, 3]);
  const before = [...(await add(x, 1).data())];
  const y = add(x, 2);
  const engine: object = tf.backend();
  const { gl } = (engine as { gpgpu: { gl: Context } }).gpgpu;
  gl.getExtension('WEBGL_lose_context')?.loseContext();
  const codeOf = (error: { code?: unknown }): unknown => error.code ?? String(error);
  const code = await y.data().then(() => 'no error', codeOf);
  const later = await add(x, 3)
    .data()
    .then(() => 'no error', codeOf);
  return { before, code, later };
}

Object.assign(globalThis, { runPart, loseContext });
