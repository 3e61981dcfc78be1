import type { ModelSettings } from '../model/settings.js';
import type { TaskName } from '../tasks/task.js';
import { originalModel, originalTraining } from './original.js';
import { smallModel, smallTraining } from './small.js';
import type { TrainingSettings } from './training-settings.js';

/**
 * small: the configuration that most of the literature uses, with its traps. small-clean: the same with the traps mended.
 * original: the released code of the benchmark's authors.
 */
export type PresetName = 'small' | 'small-clean' | 'original';
export const presetNames: readonly PresetName[] = ['small', 'small-clean', 'original'];

export interface Preset {
  readonly model: ModelSettings;
  readonly training: TrainingSettings;
}

/** The settings of a preset for a task. */
export function presetOf(name: PresetName, task: TaskName): Preset {
  if (name === 'original') return { model: originalModel(task), training: originalTraining(task) };
  const small = { model: smallModel(task), training: smallTraining(task) };
  return name === 'small' ? small : mended(small);
}

/** What each trap is, and what mends it: the switches of `train`, by name. */
function mended({ model, training }: Preset): Preset {
  return {
    model: {
      ...model,
      // The padded length would tell the head how long a document is.
      pooling: 'masked',
      // Black is a colour like any other.
      zeroPixel: model.zeroPixel === 'none' ? 'none' : 'shifted',
    },
    training: {
      ...training,
      // The configured beta is the one in use.
      momentum: 'fixed',
      evaluation: { kind: 'full' },
      lastBatch: 'kept',
      validation: 'held-out',
    },
  };
}
