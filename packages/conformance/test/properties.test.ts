import { conformanceCases, describeConformance } from '../src/index.js';
import { otherSettings, usualSettings } from './support/reference-settings.js';

const cases = (await conformanceCases()).filter((one) => one.group === 'properties');
for (const [name, createBackend] of Object.entries({ ...usualSettings, ...otherSettings })) {
  await describeConformance({ name, createBackend, cases });
}
