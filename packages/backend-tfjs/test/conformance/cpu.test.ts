import { conformanceCases, describeConformance, sampleCases } from '@topk-attention/conformance';
import { thoroughAvailability } from '@topk-attention/vitest-preset';
import { createTfjsBackend } from '../../src/index.js';
import { cpuTf } from '../support/engines.js';

const tf = await cpuTf();

// The fast lane has no seven seconds for 200 trials of each property, and a third of each kind of case; every trap is of its
// own kind.
const isFast = !thoroughAvailability().available;

await describeConformance({
  name: 'tfjs, cpu',
  ...(isFast && {
    runs: 20,
    cases: sampleCases(await conformanceCases(), 3, ({ group }) => group === 'engine traps'),
  }),
  createBackend: () => createTfjsBackend({ tf, engine: 'cpu' }),
});
