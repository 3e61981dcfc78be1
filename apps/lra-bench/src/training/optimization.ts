import {
  adamW,
  cosineSchedule,
  type Optimizer,
  oneCycleSchedule,
  rsqrtSchedule,
  type Schedule,
} from '@topk-attention/nn';
import type { TrainingSettings } from '../presets/training-settings.js';

export function scheduleOf({ schedule, steps, warmup, momentum }: TrainingSettings): Schedule {
  switch (schedule) {
    case 'one-cycle':
      return oneCycleSchedule({
        totalSteps: steps,
        pctStart: warmup / steps,
        annealStrategy: 'linear',
        cycleMomentum: momentum === 'cycled',
      });
    case 'rsqrt':
      return rsqrtSchedule({ warmupSteps: warmup });
    case 'cosine':
      return cosineSchedule({ warmupSteps: warmup, totalSteps: steps });
    default:
      return schedule satisfies never;
  }
}

export function optimizerOf({ learningRate, betas, epsilon, weightDecay }: TrainingSettings): Optimizer {
  return adamW({ learningRate, betas, epsilon, weightDecay });
}
