export { type Example, examplesOf, testExamples } from './examples.ts';
export { type Availability, optional } from './optional.ts';
export { isRequired } from './required.ts';
export { thoroughAvailability } from './thorough.ts';
