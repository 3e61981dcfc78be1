import { describeConformance } from '@topk-attention/conformance';
import { createTfjsBackend } from '../../src/index.js';
import { composedCases } from '../support/composed-cases.js';
import { cpuTf } from '../support/engines.js';

const tf = await cpuTf();

await describeConformance({
  name: 'tfjs, cpu, nothing fused',
  createBackend: () => createTfjsBackend({ tf, engine: 'cpu', fused: false }),
  cases: await composedCases(),
});
