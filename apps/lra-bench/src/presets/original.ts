import type { ModelSettings, Pooling } from '../model/settings.js';
import { type TaskName, tasks } from '../tasks/task.js';
import type { TrainingSettings } from './training-settings.js';

interface OriginalRun {
  readonly layers: number;
  readonly heads: number;
  readonly width: number;
  /** Of queries, keys and values, all heads together. */
  readonly attentionWidth: number;
  readonly hidden: number;
  readonly tokens: number;
  readonly positions: 'learned' | 'sinusoidal';
  readonly pooling: Pooling;
  readonly dropout: number;
  readonly attentionDropout: number;
  readonly learningRate: number;
  readonly schedule: 'rsqrt' | 'cosine';
  readonly warmup: number;
  readonly weightDecay: number;
  readonly batch: number;
  readonly steps: number;
  readonly evalEvery: number;
  readonly clipNorm?: number;
}

const text = {
  positions: 'sinusoidal',
  dropout: 0.1,
  attentionDropout: 0.1,
  learningRate: 0.05,
  schedule: 'rsqrt',
  weightDecay: 0.1,
  batch: 32,
} as const;

/** Of the released code. */
const runs: { readonly [task in TaskName]: OriginalRun } = {
  listops: {
    ...text,
    ...{ layers: 4, heads: 8, width: 512, attentionWidth: 512, hidden: 1024, tokens: 2000 },
    ...{ pooling: 'class', warmup: 1000, steps: 5000, evalEvery: 100 },
  },
  text: {
    ...text,
    ...{ layers: 4, heads: 4, width: 256, attentionWidth: 256, hidden: 1024, tokens: 1000 },
    ...{ pooling: 'class', warmup: 8000, steps: 20_000, evalEvery: 200 },
  },
  // The two towers never put a class token in front: what is called so is the first byte's output.
  retrieval: {
    ...text,
    ...{ layers: 4, heads: 4, width: 128, attentionWidth: 128, hidden: 512, tokens: 4000 },
    ...{ pooling: 'first', warmup: 8000, steps: 5000, evalEvery: 200 },
  },
  image: {
    ...{ layers: 1, heads: 8, width: 128, attentionWidth: 64, hidden: 128, tokens: 1024 },
    ...{ positions: 'learned', pooling: 'class', dropout: 0.3, attentionDropout: 0.2 },
    ...{ learningRate: 5e-4, schedule: 'cosine', warmup: 175, weightDecay: 0 },
    ...{ batch: 256, steps: 35_000, evalEvery: 175 },
  },
  pathfinder: {
    ...{ layers: 4, heads: 4, width: 32, attentionWidth: 16, hidden: 32, tokens: 1024 },
    ...{ positions: 'sinusoidal', pooling: 'all', dropout: 0.2, attentionDropout: 0.2 },
    ...{ learningRate: 1e-3, schedule: 'cosine', warmup: 312, weightDecay: 0 },
    ...{ batch: 512, steps: 62_400, evalEvery: 312 },
  },
  'path-x': {
    ...{ layers: 1, heads: 2, width: 32, attentionWidth: 16, hidden: 32, tokens: 16_384 },
    ...{ positions: 'learned', pooling: 'all', dropout: 0.1, attentionDropout: 0.1 },
    ...{ learningRate: 1e-3, schedule: 'cosine', warmup: 2500, weightDecay: 0 },
    ...{ batch: 64, steps: 500_000, evalEvery: 2500, clipNorm: 1 },
  },
};

export function originalModel(task: TaskName): ModelSettings {
  const { classes, side, parts, symbols } = tasks[task];
  const run = runs[task];
  return {
    layers: run.layers,
    width: run.width,
    heads: run.heads,
    headDim: run.attentionWidth / run.heads,
    hidden: run.hidden,
    classes,
    tokens: run.tokens,
    // Pixels are ids 0 to 255; elsewhere id 0 pads.
    tokenRows: side === undefined ? symbols + 1 : symbols,
    tokenDeviation: 1,
    positions: run.positions,
    positionRows: run.tokens + (run.pooling === 'class' ? 1 : 0),
    dropout: run.dropout,
    attentionDropout: run.attentionDropout,
    projectionBias: false,
    normEpsilon: 1e-6,
    pooling: run.pooling,
    paddedTokens: run.tokens,
    zeroPixel: side === undefined ? 'none' : 'masked',
    head: parts === 2 ? [run.hidden, run.hidden / 2] : [run.hidden],
    pair: parts === 2 ? 'concatenation' : 'none',
  };
}

export function originalTraining(task: TaskName): TrainingSettings {
  const { batch, steps, warmup, learningRate, schedule, weightDecay, evalEvery, clipNorm = 0 } = runs[task];
  return {
    batch,
    steps,
    warmup,
    learningRate,
    schedule,
    momentum: 'fixed',
    betas: [0.9, 0.98],
    epsilon: 1e-9,
    weightDecay,
    clipNorm,
    evalEvery,
    evaluation: { kind: 'full' },
    lastBatch: 'dropped',
    validation: 'test',
  };
}
