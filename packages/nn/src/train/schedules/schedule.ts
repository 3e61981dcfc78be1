import type { StepOptions } from '../optimizers/step-options.js';

/**
 * The options of an optimiser's step, from the number of steps made before it (0 for the first). A pure function, so
 * that a run resumes from its step count alone.
 */
export type Schedule = (step: number) => StepOptions;
