export { type CaseOptions, conformanceCases } from './cases/conformance-cases.js';
export { type DescribeOptions, describeConformance, type TestRunner } from './describe.js';
export type { ConformanceCase, ConformanceContext, Group, Tolerances } from './harness/case.js';
export type { Exclusion } from './harness/exclusions.js';
export {
  type CaseReport,
  type ConformanceOptions,
  defaultTolerances,
  runConformance,
} from './harness/run.js';
export { sampleCases } from './harness/sample.js';
export { ConformanceFailure, type Tolerance } from './harness/support/assert.js';
export { type TrainingCaseOptions, trainingCases } from './training/cases.js';
export type { TrainingOptimizer, TrainingOptimizers, TrainingState } from './training/optimizers.js';
