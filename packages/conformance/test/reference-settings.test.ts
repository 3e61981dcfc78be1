import { conformanceCases, describeConformance, sampleCases } from '../src/index.js';
import { otherSettings } from './support/reference-settings.js';

// The reference itself runs them all (reference.test.ts); of these settings each kind of case.
const cases = sampleCases(
  (await conformanceCases()).filter((one) => one.group !== 'properties'),
  3,
  ({ name }) => /nan|infinit|f16|half/i.test(name),
);
for (const [name, createBackend] of Object.entries(otherSettings)) {
  await describeConformance({ name, createBackend, cases });
}
