export type { ConformanceCase, ConformanceContext, Group, Tolerances } from './case.js';
export { type CaseOptions, conformanceCases } from './cases.js';
export { type DescribeOptions, describeConformance, type TestRunner } from './describe.js';
export type { Exclusion } from './exclusions.js';
export {
  type CaseReport,
  type ConformanceOptions,
  defaultTolerances,
  runConformance,
} from './run.js';
export { ConformanceFailure, type Tolerance } from './support/assert.js';
