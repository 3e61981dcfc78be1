export { type AverageOptions, averageParameters } from './average.js';
export {
  type Checkpoint,
  type CheckpointStore,
  loadCheckpoint,
  saveCheckpoint,
  type TrainerState,
} from './checkpoint.js';
export {
  type ClipGradNormOptions,
  type ClippedGradients,
  type ClipScale,
  clipGradNorm,
  clipGradValue,
  clipScale,
} from './clip.js';
export { folderStore } from './folder-store.js';
export type { Loss, LossContext } from './loss.js';
export {
  type LossScale,
  type LossScaleNumbers,
  type LossScaleOptions,
  type LossScaleState,
  lossScale,
} from './loss-scale.js';
export { type AdafactorOptions, type AdafactorSettings, adafactor } from './optimizers/adafactor.js';
export { type AdamOptions, type AdamSettings, adam, adamW } from './optimizers/adam.js';
export { noDecay } from './optimizers/no-decay.js';
export type {
  Optimizer,
  OptimizerState,
  ParameterGroup,
  Updated,
} from './optimizers/optimizer.js';
export type { OptimizerOptions } from './optimizers/settings.js';
export { type SgdOptions, type SgdSettings, sgd } from './optimizers/sgd.js';
export type { OptimizerStepOptions, StepOptions } from './optimizers/step-options.js';
export type { EarlyStopping, LogEntry, TrainOptions } from './options.js';
export { type OneCycleOptions, oneCycleSchedule } from './schedules/one-cycle.js';
export {
  type Plateau,
  type PlateauOptions,
  type PlateauState,
  reduceOnPlateau,
} from './schedules/plateau.js';
export type { Schedule } from './schedules/schedule.js';
export {
  type ConstantLROptions,
  type CosineAnnealingOptions,
  constantLR,
  cosineAnnealingLR,
  exponentialLR,
  type LinearLROptions,
  linearLR,
  type MultiStepLROptions,
  multiStepLR,
  type StepLROptions,
  sequentialLR,
  stepLR,
} from './schedules/step-wise.js';
export {
  type CosineOptions,
  type CosineWithRestartsOptions,
  constantSchedule,
  cosineSchedule,
  cosineWithRestartsSchedule,
  type InverseSqrtOptions,
  inverseSqrtSchedule,
  linearSchedule,
  type PolynomialOptions,
  polynomialSchedule,
  type RsqrtOptions,
  rsqrtSchedule,
  type WarmupDecayOptions,
  type WarmupOptions,
  type WarmupStableDecayOptions,
  warmupStableDecaySchedule,
} from './schedules/warmup.js';
export { type TrainResult, train } from './train.js';
