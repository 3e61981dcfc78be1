import { thoroughAvailability } from '@topk-attention/vitest-preset';
import { conformanceCases, describeConformance, sampleCases } from '../src/index.js';
import { usualSettings } from './support/reference-settings.js';

// The properties are in a file of their own, which `pnpm fuzz` runs with more trials.
const cases = (await conformanceCases()).filter((one) => one.group !== 'properties');
// The fast lane has a third of the sizes of each kind of case.
const taken = sampleCases(cases, thoroughAvailability().available ? 1 : 3);
for (const [name, createBackend] of Object.entries(usualSettings)) {
  await describeConformance({ name, createBackend, cases: taken });
}
