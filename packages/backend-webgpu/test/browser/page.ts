// Runs in the page: conformance cases on the browser's own WebGPU. The test reads the results from the window.
import { type CaseReport, conformanceCases, runConformance } from '@topk-attention/conformance';
import { createWebGpuBackend, type DoctorReport, doctor } from '../../src/index.js';

export interface PageResult {
  readonly reports: readonly CaseReport[];
  readonly doctor: Pick<DoctorReport, 'ok' | 'provider' | 'problems'>;
}

/** `primitives` takes seconds, the rest minutes. */
async function runPart(goldens: string, part: 'primitives' | 'rest'): Promise<PageResult> {
  const all = await conformanceCases({ goldens: new URL(goldens) });
  const cases = all.filter(({ group }) => (group === 'primitives') === (part === 'primitives'));
  const createBackend = () => createWebGpuBackend({ onWarning: () => {} });
  const reports = await runConformance({ name: 'webgpu', runs: 20, createBackend }, cases);
  const { ok, provider, problems } = await doctor();
  return { reports, doctor: { ok, problems, ...(provider !== undefined && { provider }) } };
}

Object.assign(globalThis, { runPart });
