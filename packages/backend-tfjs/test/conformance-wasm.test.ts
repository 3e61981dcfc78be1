import { describeConformance } from '@topk-attention/conformance';
import { createTfjsBackend } from '../src/index.js';
import { wasmTf } from './engines.js';

const tf = await wasmTf();

await describeConformance({
  name: 'tfjs, wasm',
  createBackend: () => createTfjsBackend({ tf, engine: 'wasm' }),
});
