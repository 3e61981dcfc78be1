// Runs in the page: conformance cases on the browser's own WebGPU. The test reads the results from the window.
import { type CaseReport, conformanceCases, runConformance } from '@topk-attention/conformance';
import { createWebGpuBackend, type DoctorReport, doctor } from '../../src/index.js';

export interface PageResult {
  readonly reports: readonly CaseReport[];
  readonly doctor: Pick<DoctorReport, 'ok' | 'provider' | 'problems'>;
}

/** What says most of an engine, and comes first. */
const quick: ReadonlySet<string> = new Set(['primitives', 'engine traps', 'attention']);

async function runPart(goldens: string, part: 'quick' | 'rest'): Promise<PageResult> {
  const all = await conformanceCases({ goldens: new URL(goldens) });
  const cases = all.filter(({ group }) => quick.has(group) === (part === 'quick'));
  const createBackend = () => createWebGpuBackend({ onWarning: () => {} });
  const reports = await runConformance({ name: 'webgpu', runs: 20, createBackend }, cases);
  const { ok, provider, problems } = await doctor();
  return { reports, doctor: { ok, problems, ...(provider !== undefined && { provider }) } };
}

Object.assign(globalThis, { runPart });
