import type { ModelSettings } from '../model/settings.js';
import { type TaskName, tasks } from '../tasks/task.js';
import type { TrainingSettings } from './training-settings.js';

interface SmallRun {
  readonly batch: number;
  readonly warmup: number;
  readonly steps: number;
  readonly evalEvery: number;
  readonly evalBatches: number;
}

/** Of the published small configuration. It has no Path-X: that row is ours, with Pathfinder's passes over the data. */
const runs: { readonly [task in TaskName]: SmallRun } = {
  listops: { batch: 32, warmup: 1000, steps: 5000, evalEvery: 50, evalBatches: 62 },
  text: { batch: 32, warmup: 8000, steps: 20_000, evalEvery: 500, evalBatches: 781 },
  retrieval: { batch: 32, warmup: 800, steps: 30_000, evalEvery: 300, evalBatches: 565 },
  image: { batch: 256, warmup: 175, steps: 35_000, evalEvery: 175, evalBatches: 20 },
  pathfinder: { batch: 256, warmup: 312, steps: 62_400, evalEvery: 312, evalBatches: 312 },
  'path-x': { batch: 64, warmup: 1250, steps: 250_000, evalEvery: 1250, evalBatches: 312 },
};

/** The model of the small configuration: 2 layers of width 64 with 2 heads, whatever the task. */
export function smallModel(task: TaskName): ModelSettings {
  const { tokens, paddedTokens, classes, side, parts } = tasks[task];
  return {
    layers: 2,
    width: 64,
    heads: 2,
    headDim: 32,
    hidden: 128,
    classes,
    tokens,
    tokenRows: task === 'listops' ? 32 : 512,
    tokenDeviation: 0.02,
    positions: 'learned',
    positionRows: paddedTokens,
    dropout: 0.1,
    attentionDropout: 0.1,
    projectionBias: true,
    normEpsilon: 1e-5,
    pooling: 'padded',
    paddedTokens,
    zeroPixel: side === undefined ? 'none' : 'masked',
    head: [128],
    pair: parts === 2 ? 'interaction' : 'none',
  };
}

export function smallTraining(task: TaskName): TrainingSettings {
  const { batch, warmup, steps, evalEvery, evalBatches } = runs[task];
  return {
    batch,
    steps,
    warmup,
    learningRate: 1e-4,
    schedule: 'one-cycle',
    momentum: 'cycled',
    betas: [0.9, 0.999],
    epsilon: 1e-6,
    weightDecay: 0,
    clipNorm: 0,
    evalEvery,
    evaluation: { kind: 'stream', batches: evalBatches },
    lastBatch: 'dropped',
    validation: 'test',
  };
}
