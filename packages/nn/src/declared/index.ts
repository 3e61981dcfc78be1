export { compareStateDict, type Mismatch, type StateDictDifferences, StateDictError } from './compare.js';
export type { Declaration, Declarations, Declared } from './declaration.js';
export { splitParameters, trainableExcept } from './freeze.js';
export { initialize } from './initialize.js';
export type { Initializer, KaimingOptions } from './initializers.js';
export * as initializers from './initializers.js';
export { type LoadStateDictOptions, loadStateDict } from './load-state-dict.js';
export { type StateDict, stateDict } from './state-dict.js';
export { type Summary, type SummaryRow, summary } from './summary.js';
