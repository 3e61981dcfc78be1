import { join } from 'node:path';
import { crossEntropy, scope, type Tensor, tensor } from '@topk-attention/core';
import {
  adamW,
  contextOf,
  cosineSchedule,
  dataLoader,
  disposeParameters,
  encodeSafetensors,
  folderStore,
  initialize,
  loadCheckpoint,
  type ParameterTree,
  stateDict,
  train,
} from '@topk-attention/nn';
import { writeBytes } from '../data/write.js';
import { shortHash } from '../runs/configuration.js';
import { costOf, notePeakOfFailed } from '../runs/cost.js';
import { openMetrics } from '../runs/metrics.js';
import { addSession, runFiles } from '../runs/run-folder.js';
import type { RunOptions } from '../runs/run-options.js';
import { workInFolder } from '../runs/work-in-folder.js';
import { type NeedleBatch, trainingBatch, validationBatches } from './batch.js';
import { needleNetwork } from './model.js';
import {
  type NeedleResult,
  readNeedleConfiguration,
  readNeedleResult,
  writeNeedleConfiguration,
  writeNeedleResult,
} from './run-folder.js';
import { answersOf } from './score.js';
import type { NeedleConfiguration } from './settings.js';

export interface NeedleTrainOptions extends RunOptions {
  readonly folder: string;
  readonly configuration: NeedleConfiguration;
}

/** Steps between two lines of the log. */
const LOG_EVERY = 10;

/**
 * Trains a model to find needles, and keeps everything about it in a folder, as `trainRun` does for a classifier. Rows are
 * made when their step comes and depend on its number alone.
 *
 * @throws TopKError INVALID_OPTION for a folder with another run, or with a run and without `resume`; LOCKED;
 * UNSUPPORTED for a run of another version; ABORTED after the signal, once all is saved; FILE_NOT_WRITTEN; whatever
 * `train` throws
 */
export async function trainNeedles(options: NeedleTrainOptions): Promise<NeedleResult> {
  const files = {
    readConfiguration: readNeedleConfiguration,
    writeConfiguration: writeNeedleConfiguration,
    readResult: readNeedleResult,
  };
  return workInFolder(options, files, () => trainIn(options));
}

type Inputs = { readonly ids: Tensor; readonly values: Tensor };

async function trainIn(options: NeedleTrainOptions): Promise<NeedleResult> {
  const { folder, configuration, backend, session, signal } = options;
  const { training, seed, task } = configuration;
  const model = needleNetwork(configuration);
  const store = folderStore(join(folder, runFiles.checkpoints));
  addSession(folder, { ...session, from: (await store.list()).at(-1) ?? 0 });
  const journal = openMetrics(folder, shortHash(configuration));
  const parameters = initialize(backend, model, seed);
  backend.resetPeak();
  try {
    const run = await train<NeedleBatch, Inputs>({
      parameters,
      // Each batch is one step's, made by its number.
      data: dataLoader(
        { length: training.steps, get: (step: number) => step },
        { batchSize: 1, collate: ([step = 0]) => trainingBatch(configuration, step) },
      ),
      tensorsOf: ({ rows, tokens, ids, values }) => ({
        ids: tensor(backend, ids, [rows, tokens]),
        values: tensor(backend, values, [values.length]),
      }),
      loss: (of, { ids, values }) =>
        scope(() => crossEntropy(model.apply(contextOf(of, { training: true }), ids), values)),
      optimizer: adamW({ learningRate: training.learningRate, betas: [0.9, 0.98], weightDecay: 0 }),
      schedule: cosineSchedule({ warmupSteps: training.warmup, totalSteps: training.steps }),
      maxSteps: training.steps,
      maxGradNorm: training.clipNorm,
      recorded: true,
      // The lengths follow each other: none comes back.
      mostRecordings: 1,
      seed,
      evaluate: (of) => validate(model, of, configuration, signal),
      evalSteps: training.evalEvery,
      checkpoints: store,
      resume: true,
      saveSteps: options.saveEvery,
      saveTotalLimit: 1,
      loggingSteps: LOG_EVERY,
      onLog: (metric) => {
        journal.add(metric);
        options.onMetric?.(metric);
      },
      onProgress: (done, total) => options.onProgress?.(done, total, 'training'),
      ...(signal && { signal }),
    });
    disposeParameters(run.parameters);
    disposeParameters(run.state.tensors);
    const { bestStep = 0, bestMetric = 0 } = run;
    const best = await loadCheckpoint(store, bestStep, backend);
    disposeParameters(best.optimizer.tensors);
    writeBytes(join(folder, runFiles.best), [encodeSafetensors(await stateDict(best.parameters))]);
    disposeParameters(best.parameters);
    const result: NeedleResult = {
      steps: training.steps,
      bestStep,
      loss: bestMetric / task.valueTokens,
      ...costOf(folder, options.deviceBytes),
    };
    writeNeedleResult(folder, result);
    return result;
  } catch (error) {
    notePeakOfFailed(folder, options.deviceBytes);
    throw error;
  } finally {
    disposeParameters(parameters);
    journal.close();
  }
}

/** Per row: the loss of its whole value, and whether all of it is right. */
async function validate(
  model: ReturnType<typeof needleNetwork>,
  parameters: ParameterTree,
  configuration: NeedleConfiguration,
  signal: AbortSignal | undefined,
): Promise<{ loss: number; accuracy: number }> {
  const { task, training } = configuration;
  let [loss, right] = [0, 0];
  for (const batch of validationBatches(configuration)) {
    signal?.throwIfAborted();
    const answers = await answersOf(model, parameters, batch);
    loss += answers.loss;
    right += answers.right.filter((tokens) => tokens === task.valueTokens).length;
  }
  const { validationRows } = training;
  return { loss: loss / validationRows, accuracy: (100 * right) / validationRows };
}
