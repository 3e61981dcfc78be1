import { conformanceCases, describeConformance } from '../src/index.js';
import { referenceSettings } from './support/reference-settings.js';

const cases = (await conformanceCases()).filter((one) => one.group === 'properties');
for (const [name, createBackend] of Object.entries(referenceSettings)) {
  await describeConformance({ name, createBackend, cases });
}
