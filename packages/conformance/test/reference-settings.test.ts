import { conformanceCases, describeConformance } from '../src/index.js';
import { otherSettings } from './support/reference-settings.js';

const cases = (await conformanceCases()).filter((one) => one.group !== 'properties');
for (const [name, createBackend] of Object.entries(otherSettings)) {
  await describeConformance({ name, createBackend, cases });
}
