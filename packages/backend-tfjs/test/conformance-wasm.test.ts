import { conformanceCases, describeConformance, type Group } from '@topk-attention/conformance';
import { createTfjsBackend } from '../src/index.js';
import { wasmTf } from './engines.js';

const tf = await wasmTf();

await describeConformance({
  name: 'tfjs, wasm',
  createBackend: () => createTfjsBackend({ tf, engine: 'wasm' }),
});

// The primitives are the same, and counted bytes are those of what core composes.
const composed: readonly Group[] = [
  'goldens',
  'attention',
  'feed-forward',
  'gradients',
  'lifecycle',
  'planning',
];
await describeConformance({
  name: 'tfjs, wasm, nothing fused',
  createBackend: () => createTfjsBackend({ tf, engine: 'wasm', fused: false }),
  cases: (await conformanceCases()).filter(({ group }) => composed.includes(group)),
});
