// Runs in the page: conformance cases on the browser's own WebGPU. The test reads the results from the window.
import {
  type CaseReport,
  type ConformanceCase,
  conformanceCases,
  runConformance,
  sampleCases,
} from '@topk-attention/conformance';
import { createWebGpuBackend, type DoctorReport, doctor } from '../../src/index.js';

export interface PageResult {
  readonly reports: readonly CaseReport[];
  readonly doctor: Pick<DoctorReport, 'ok' | 'provider' | 'problems'>;
}

/**
 * A sample of the primitives, or of each other group. Chromium has the Dawn and the SwiftShader that the whole suite runs
 * on in Node, and compiling the kernels of all of it again takes minutes.
 */
async function runPart(goldens: string, part: 'primitives' | 'sample'): Promise<PageResult> {
  const all = await conformanceCases({ goldens: new URL(goldens) });
  const isPrimitive = ({ group }: ConformanceCase): boolean => group === 'primitives';
  const cases =
    part === 'primitives'
      ? sampleCases(all.filter(isPrimitive), 8)
      : sampleCases(
          all.filter((one) => !isPrimitive(one)),
          40,
        );
  const createBackend = () => createWebGpuBackend({ onWarning: () => {} });
  const reports = await runConformance({ name: 'webgpu', runs: 5, calls: 30, createBackend }, cases);
  const { ok, provider, problems } = await doctor();
  return { reports, doctor: { ok, problems, ...(provider !== undefined && { provider }) } };
}

Object.assign(globalThis, { runPart });
