// Runs in the page: conformance cases on the browser's own WebGPU. The test reads the results from the window.
import { type CaseReport, conformanceCases, runConformance } from '@topk-attention/conformance';
import { createWebGpuBackend, type DoctorReport, doctor } from '../../src/index.js';

/** Everything that says something of an engine; what is left out is the same code as in Node. */
const groups = new Set(['primitives', 'engine traps', 'goldens', 'attention', 'feed-forward']);

export interface PageResult {
  readonly reports: readonly CaseReport[];
  readonly doctor: Pick<DoctorReport, 'ok' | 'provider' | 'problems'>;
}

async function runAll(goldens: string): Promise<PageResult> {
  const cases = (await conformanceCases({ goldens: new URL(goldens) })).filter(({ group }) =>
    groups.has(group),
  );
  const createBackend = () => createWebGpuBackend({ onWarning: () => {} });
  const reports = await runConformance({ name: 'webgpu', createBackend }, cases);
  const { ok, provider, problems } = await doctor();
  return { reports, doctor: { ok, problems, ...(provider !== undefined && { provider }) } };
}

Object.assign(globalThis, { runAll });
