import { type Backend, crossEntropy, scope } from '@topk-attention/core';
import {
  adamW,
  contextOf,
  cosineSchedule,
  type Dataset,
  dataLoader,
  disposeParameters,
  initialize,
  type LogEntry,
  noDecay,
  type ParameterTree,
  train,
  trainableExcept,
} from '@topk-attention/nn';
import { meanLoss } from './evaluate.js';
import type { LanguageModel } from './model.js';
import type { RunFolder, TrainingOptions } from './run-folder.js';
import { toBatch, type Window } from './windows.js';

export interface TrainModelOptions {
  readonly trainWindows: Dataset<Window>;
  readonly testWindows: Dataset<Window>;
  readonly training: TrainingOptions;
  /** Of the first values, the order of the windows, and dropout. */
  readonly seed: number;
  /** Where the run is logged and saved. Default: nowhere. */
  readonly folder?: RunFolder;
  readonly resume?: boolean;
  readonly onLog?: (entry: LogEntry) => void;
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/** Trained parameters, from random ones or from the last checkpoint. The caller disposes of them. */
export async function trainModel(
  backend: Backend,
  model: LanguageModel,
  { trainWindows, testWindows, training, seed, folder, resume, onLog, ...others }: TrainModelOptions,
): Promise<ParameterTree> {
  const { steps, batchSize, learningRate, warmupSteps, weightDecay, evalSteps, evalWindows } = training;
  const first = initialize(backend, model, seed);
  try {
    const { parameters, state } = await train({
      parameters: first,
      trainable: trainableExcept(model),
      data: dataLoader(trainWindows, {
        ...{ batchSize, seed, shuffle: true, dropLast: true },
        collate: (windows: readonly Window[]) => windows,
      }),
      tensorsOf: (windows) => toBatch(backend, windows),
      loss: (now, { inputs, targets }, { seeds }) =>
        scope(() => crossEntropy(model.apply(contextOf(now, { training: true, seeds }), inputs), targets)),
      optimizer: adamW({ learningRate, weightDecay, betas: [0.9, 0.99], groups: [noDecay()] }),
      schedule: cosineSchedule({ warmupSteps, totalSteps: steps, minFactor: 0.1 }),
      maxGradNorm: 1,
      maxSteps: steps,
      recorded: true,
      seed,
      evaluate: async (now) => ({
        loss: await meanLoss(model, now, testWindows, { batchSize, most: evalWindows }),
      }),
      evalSteps,
      loggingSteps: Math.min(evalSteps, 50),
      onLog: (entry) => {
        folder?.log(entry);
        onLog?.(entry);
      },
      ...(folder && { checkpoints: folder.checkpoints, saveTotalLimit: 1, resume: resume === true }),
      ...others,
    });
    disposeParameters(state.tensors);
    return parameters;
  } finally {
    disposeParameters(first);
  }
}
