import { describeConformance } from '@topk-attention/conformance';
import { createTfjsBackend } from '../../src/index.js';
import { composedCases } from '../support/composed-cases.js';
import { wasmTf } from '../support/engines.js';

const tf = await wasmTf();

await describeConformance({
  name: 'tfjs, wasm',
  createBackend: () => createTfjsBackend({ tf, engine: 'wasm' }),
});

await describeConformance({
  name: 'tfjs, wasm, nothing fused',
  createBackend: () => createTfjsBackend({ tf, engine: 'wasm', fused: false }),
  cases: await composedCases(),
});
