import { conformanceCases, describeConformance, type Group } from '@topk-attention/conformance';
import { createTfjsBackend } from '../src/index.js';
import { cpuTf } from './engines.js';

const tf = await cpuTf();

await describeConformance({
  name: 'tfjs, cpu',
  createBackend: () => createTfjsBackend({ tf, engine: 'cpu' }),
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
  name: 'tfjs, cpu, nothing fused',
  createBackend: () => createTfjsBackend({ tf, engine: 'cpu', fused: false }),
  cases: (await conformanceCases()).filter(({ group }) => composed.includes(group)),
});
