// Runs in the page: the conformance cases on onnxruntime-web's wasm, one thread. The test reads `reports` from the window.
import { type CaseReport, conformanceCases, runConformance, sampleCases } from '@topk-attention/conformance';
import { tensor, topKAttention } from '@topk-attention/core';
import * as ort from 'onnxruntime-web/wasm';
import { createOnnxRuntimeBackend, doctor } from '../../src/index.js';

/** What says something of an engine, in two parts; gradients and lifecycle are the same code as in Node. */
const groups: Readonly<Record<'primitives' | 'layers', readonly string[]>> = {
  primitives: ['primitives', 'engine traps'],
  layers: ['goldens', 'attention', 'feed-forward'],
};

export interface PageResult {
  readonly reports: readonly CaseReport[];
  readonly providers: readonly string[];
  readonly runs: number;
}

async function runPart(wasmPaths: string, goldens: string, part: keyof typeof groups): Promise<PageResult> {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = wasmPaths;
  const chosen = (await conformanceCases({ goldens: new URL(goldens) })).filter(({ group }) =>
    groups[part].includes(group),
  );
  // The graphs of layers are those that all cases run in Node; what is new here is the engine under them.
  const cases = part === 'layers' ? sampleCases(chosen, 4) : chosen;
  const createBackend = () => createOnnxRuntimeBackend({ ort });
  const reports = await runConformance({ name: 'onnxruntime-web', createBackend }, cases);
  const [peer] = (await doctor({ ort })).peers;
  const backend = await createBackend();
  const rows = (length: number) =>
    tensor(backend, new Float32Array(2 * length * 8).fill(0.5), [1, 2, length, 8]);
  await topKAttention(rows(64), rows(64), rows(64), { k: 4, queryChunk: 16 }).data();
  return {
    reports,
    providers: peer?.providers.flatMap(({ name, usable }) => (usable ? [name] : [])) ?? [],
    runs: backend.statistics().runs,
  };
}

Object.assign(globalThis, { runPart });
