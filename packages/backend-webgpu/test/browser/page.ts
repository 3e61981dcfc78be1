// Runs in the page: conformance cases on the browser's own WebGPU. The test reads the results from the window.
import { type CaseReport, conformanceCases, runConformance, sampleCases } from '@topk-attention/conformance';
import { createWebGpuBackend, type DoctorReport, doctor } from '../../src/index.js';

export interface PageResult {
  readonly reports: readonly CaseReport[];
  readonly doctor: Pick<DoctorReport, 'ok' | 'provider' | 'problems'>;
}

/**
 * The primitives, or every eighth case of each other group. Chromium has the Dawn and the SwiftShader that the whole
 * suite runs on in Node, and compiling the kernels of all of it again takes minutes.
 */
async function runPart(goldens: string, part: 'primitives' | 'sample'): Promise<PageResult> {
  const all = await conformanceCases({ goldens: new URL(goldens) });
  const cases =
    part === 'primitives'
      ? all.filter(({ group }) => group === 'primitives')
      : sampleCases(
          all.filter(({ group }) => group !== 'primitives'),
          8,
        );
  const createBackend = () => createWebGpuBackend({ onWarning: () => {} });
  const reports = await runConformance({ name: 'webgpu', runs: 20, calls: 100, createBackend }, cases);
  const { ok, provider, problems } = await doctor();
  return { reports, doctor: { ok, problems, ...(provider !== undefined && { provider }) } };
}

Object.assign(globalThis, { runPart });
