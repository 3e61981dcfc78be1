import type { StepOptions } from '../optimizers/optimizer.js';

/**
 * What an optimiser's step is given, by the number of steps made before it (0 for the first). A pure function, so that a
 * run resumes with nothing but its step count.
 */
export type Schedule = (step: number) => StepOptions;
