import { join } from 'node:path';
import { tensor } from '@topk-attention/core';
import {
  disposeParameters,
  encodeSafetensors,
  folderStore,
  initialize,
  loadCheckpoint,
  type ParameterTree,
  stateDict,
  train,
  trainableExcept,
} from '@topk-attention/nn';
import type { Rows } from '../data/rows.js';
import type { Splits } from '../data/splits.js';
import { writeBytes } from '../data/write.js';
import { Evaluator, type Score } from '../evaluation/evaluate.js';
import { fullPass, streamed } from '../evaluation/looks.js';
import { type Batch, batchOf, documentsOf } from '../model/batches.js';
import { classifier } from '../model/classifier.js';
import { type Cut, evenCut, type Part } from '../model/parts.js';
import { type Configuration, comparedHash } from '../runs/configuration.js';
import { costOf, notePeakOfFailed } from '../runs/cost.js';
import { openMetrics } from '../runs/metrics.js';
import {
  addSession,
  type RunResult,
  readConfiguration,
  readResult,
  runFiles,
  writeConfiguration,
  writeJson,
} from '../runs/run-folder.js';
import type { RunOptions } from '../runs/run-options.js';
import { workInFolder } from '../runs/work-in-folder.js';
import { loaderInParts } from './loader.js';
import { type Inputs, trainingLoss } from './loss.js';
import { optimizerOf, scheduleOf } from './optimization.js';
import { trimmedCut, trimmedLengths } from './trimmed-cut.js';

export interface TrainRunOptions extends RunOptions {
  readonly folder: string;
  readonly configuration: Configuration;
  readonly splits: Splits;
}

/** Steps between two lines of the log. */
const LOG_EVERY = 10;

/**
 * Trains one classifier and keeps everything about it in a folder: configuration, environment, log, the last and the best
 * checkpoint, the result. A run that is stopped, even killed, and resumed ends with the same bits. A finished run is only
 * read.
 *
 * @throws TopKError INVALID_OPTION for a folder with another run, or with a run and without `resume`; LOCKED;
 * UNSUPPORTED for a run of another version; ABORTED after the signal, once all is saved; FILE_NOT_WRITTEN; whatever
 * `train` throws
 */
export async function trainRun(options: TrainRunOptions): Promise<RunResult> {
  const files = { readConfiguration, writeConfiguration, readResult };
  return workInFolder(options, files, () => trainIn(options));
}

async function trainIn(options: TrainRunOptions): Promise<RunResult> {
  const { folder, configuration, splits, backend, session, signal, onProgress } = options;
  const { model: settings, training, seed, microBatch, task } = configuration;
  const model = classifier(settings, configuration.mechanism, configuration.feedForwardK);
  const store = folderStore(join(folder, runFiles.checkpoints));
  const from = (await store.list()).at(-1) ?? 0;
  addSession(folder, { ...session, from });
  const journal = openMetrics(folder, comparedHash(configuration));
  const cutOf = cutsOf(configuration, splits);
  const parts = training.batch / microBatch;
  // One for each part of a trimmed batch; a whole one is as long as its last part.
  const evaluator = new Evaluator(model, Math.max(4, parts));
  const parameters = initialize(backend, model, seed);
  const batch = (rows: Rows, part: Part): Batch => batchOf(task, rows, part, settings);
  // A process may make several runs.
  backend.resetPeak();
  // Counted for the streams of validation batches, which go on where the last look ended.
  let looksAt = 0;
  const evaluate = async (of: ParameterTree): Promise<{ loss: number; accuracy: number }> => {
    const rows = splits.validation;
    const { evaluation } = training;
    const batches =
      evaluation.kind === 'full'
        ? fullPass(rows.length, training.batch, training.lastBatch)
        : streamed(
            rows.length,
            training.batch,
            evaluation.batches,
            Math.ceil(looksAt / training.evalEvery),
            seed,
          );
    const { loss, accuracy } = await evaluator.score(
      of,
      lazily(batches.flatMap(cutOf(rows)), (part) => batch(rows, part)),
      {
        ...(signal && { signal }),
      },
    );
    return { loss, accuracy };
  };
  try {
    const {
      parameters: last,
      state,
      bestStep = 0,
      bestMetric = 0,
    } = await train<Batch, Inputs>({
      parameters,
      trainable: trainableExcept(model),
      redraw: model,
      data: loaderInParts(
        splits.train.length,
        { batch: training.batch, parts, seed },
        cutOf(splits.train),
        (part) => batch(splits.train, part),
      ),
      tensorsOf: (one) => ({
        documents: documentsOf(backend, one),
        labels: tensor(backend, one.labels, [one.examples]),
      }),
      loss: (of, inputs, { seeds }) => trainingLoss(model, of, inputs, seeds),
      optimizer: optimizerOf(training),
      schedule: scheduleOf(training),
      maxSteps: training.steps,
      gradientAccumulationSteps: parts,
      ...(training.clipNorm > 0 && { maxGradNorm: training.clipNorm }),
      recorded: true,
      precision: configuration.precision ?? 'f32',
      seed,
      evaluate,
      evalSteps: training.evalEvery,
      metricForBest: 'accuracy',
      greaterIsBetter: true,
      checkpoints: store,
      resume: true,
      saveSteps: options.saveEvery,
      saveTotalLimit: 1,
      loggingSteps: LOG_EVERY,
      onLog: (metric) => {
        journal.add(metric);
        options.onMetric?.(metric);
      },
      onProgress: (done, total) => {
        looksAt = done;
        onProgress?.(done, total, 'training');
      },
      ...(signal && { signal }),
    });
    disposeParameters(last);
    disposeParameters(state.tensors);
    const best = await loadCheckpoint(store, bestStep, backend);
    disposeParameters(best.optimizer.tensors);
    const test = await testScore(options, evaluator, cutOf(splits.test), best.parameters);
    writeBytes(join(folder, runFiles.best), [encodeSafetensors(await stateDict(best.parameters))]);
    disposeParameters(best.parameters);
    const result: RunResult = {
      steps: training.steps,
      bestStep,
      validation: bestMetric,
      test: test.accuracy,
      testLoss: test.loss,
      testExamples: test.examples,
      ...costOf(folder, options.deviceBytes),
    };
    writeJson(join(folder, runFiles.result), result);
    return result;
  } catch (error) {
    notePeakOfFailed(folder, options.deviceBytes);
    throw error;
  } finally {
    evaluator.dispose();
    disposeParameters(parameters);
    journal.close();
  }
}

async function testScore(
  { configuration, splits, signal, onProgress }: TrainRunOptions,
  evaluator: Evaluator,
  cut: Cut,
  parameters: ParameterTree,
): Promise<Score> {
  const { task, model, training } = configuration;
  const parts = fullPass(splits.test.length, training.batch, training.lastBatch).flatMap(cut);
  return evaluator.score(
    parameters,
    lazily(parts, (part) => batchOf(task, splits.test, part, model)),
    {
      ...(signal && { signal }),
      onBatch: (done) => onProgress?.(done, parts.length, 'testing'),
    },
  );
}

/** How batches of some rows are cut. */
function cutsOf(
  { model, training: { batch }, microBatch, trimmed }: Configuration,
  { train: rows }: Splits,
): (rows: Rows) => Cut {
  if (trimmed !== true) return () => evenCut(microBatch, model.tokens);
  const lengths = trimmedLengths(rows, model, batch, microBatch);
  // All rows are measured once, not at each look.
  const cuts = new Map<Rows, Cut>();
  return (own) => {
    const cut = cuts.get(own) ?? trimmedCut(own, model, lengths);
    cuts.set(own, cut);
    return cut;
  };
}

/** Batches made when their turn comes. */
export function* lazily<T>(parts: readonly Part[], make: (part: Part) => T): Generator<T> {
  for (const part of parts) yield make(part);
}
