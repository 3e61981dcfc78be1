import type { ModelOptions } from './model.js';
import type { TrainingOptions } from './run-folder.js';

/** Sizes of a run that need no thought. Options of the command line replace single ones. */
export interface Preset {
  readonly model: Omit<ModelOptions, 'vocabulary' | 'mechanism' | 'k'>;
  readonly training: TrainingOptions;
}

/** Seconds on a CPU. */
export const tiny: Preset = {
  model: { context: 64, layers: 2, width: 32, heads: 2, features: 32, dropout: 0 },
  training: {
    ...{ steps: 100, batchSize: 8, learningRate: 5e-3, warmupSteps: 10, weightDecay: 0.1 },
    ...{ evalSteps: 25, evalWindows: 16 },
  },
};

/** Seconds to minutes on a GPU: for a megabyte of text. */
export const small: Preset = {
  model: { context: 512, layers: 2, width: 192, heads: 6, features: 128, dropout: 0.1 },
  training: {
    ...{ steps: 1500, batchSize: 16, learningRate: 3e-3, warmupSteps: 100, weightDecay: 0.1 },
    ...{ evalSteps: 100, evalWindows: 64 },
  },
};
