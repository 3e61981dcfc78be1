import type { ListOpsSettings } from '../listops/generate.js';
import type { ModelSettings } from '../model/settings.js';
import type { Preset } from './presets.js';
import { presetOf } from './presets.js';

/** Expressions so short that a small model learns something about them in a minute on a CPU. */
export const quickListOps: ListOpsSettings = {
  maxDepth: 3,
  nesting: 0.25,
  minArguments: 2,
  maxArguments: 5,
  minLength: 3,
  maxLength: 32,
};

export const quickRows: { readonly [split in 'train' | 'validation' | 'test']: number } = {
  train: 4000,
  validation: 256,
  test: 512,
};

/** Keys that each query keeps, and features of Performer. */
export const quickMechanisms: { readonly k: number; readonly features: number } = { k: 8, features: 32 };

/** The small configuration with its traps mended, made smaller still. */
export function quickPreset(steps: number): Preset {
  const { model, training } = presetOf('small-clean', 'listops');
  const tokens = quickListOps.maxLength;
  const small: ModelSettings = { ...model, width: 32, headDim: 16, hidden: 64, head: [64], dropout: 0 };
  return {
    model: { ...small, attentionDropout: 0, tokens, paddedTokens: tokens, positionRows: tokens },
    training: {
      ...training,
      batch: 32,
      steps,
      warmup: Math.ceil(steps / 5),
      learningRate: 4e-3,
      evalEvery: Math.ceil(steps / 5),
    },
  };
}
