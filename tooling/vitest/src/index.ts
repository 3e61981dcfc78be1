export { type Example, examplesOf, testExamples } from './examples.ts';
export { type Availability, isRequired, optional } from './optional.ts';
export { thoroughAvailability } from './thorough.ts';
