import { conformanceCases, describeConformance } from '../src/index.js';
import { usualSettings } from './support/reference-settings.js';

// The properties are in a file of their own, which `pnpm fuzz` runs with more trials.
const cases = (await conformanceCases()).filter((one) => one.group !== 'properties');
for (const [name, createBackend] of Object.entries(usualSettings)) {
  await describeConformance({ name, createBackend, cases });
}
