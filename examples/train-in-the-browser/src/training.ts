import { type Backend, scope, tensor } from '@topk-attention/core';
import {
  adamW,
  type CheckpointStore,
  cosineSchedule,
  dataLoader,
  disposeParameters,
  initialize,
  type LogEntry,
  noDecay,
  type ParameterTree,
  summary,
  train,
} from '@topk-attention/nn';
import { characterModel, lossOf } from './model.js';
import { sampleText } from './sample.js';
import type { Settings } from './settings.js';
import { encodeText, type Piece, piecesOf, spreadPieces } from './text.js';

const SAMPLE_CHARACTERS = 120;

export interface Watchers {
  /** Before the first step. */
  readonly onReady: (parameters: number, characters: number) => void;
  readonly onLog: (entry: LogEntry) => void;
  readonly onSample: (step: number, text: string) => void;
  /** Stops the run after its step and saves it. */
  readonly signal: AbortSignal;
}

/**
 * Trains the model of the settings on a text, from the newest checkpoint of the store if it has one. Ends with the same
 * bits however often it was stopped.
 *
 * @throws TopKError as `encodeText` and nn's `train`: ABORTED after the signal, once a checkpoint is saved.
 */
export async function trainOnText(
  backend: Backend,
  store: CheckpointStore,
  settings: Settings,
  text: string,
  { onReady, onLog, onSample, signal }: Watchers,
): Promise<void> {
  const { batch, context, every, rate, seed, steps } = settings;
  const { vocabulary, training, validation } = encodeText(text, settings);
  const model = characterModel(settings, vocabulary.length);
  onReady(summary(model).count, vocabulary.length);

  const idsOf = (pieces: readonly Piece[], part: keyof Piece) => {
    const all = new Int32Array(pieces.length * context);
    for (const [i, piece] of pieces.entries()) all.set(piece[part], i * context);
    return tensor(backend, all, [pieces.length, context]);
  };
  const tensorsOf = (pieces: readonly Piece[]) => ({
    ids: idsOf(pieces, 'ids'),
    targets: idsOf(pieces, 'targets'),
  });

  const evaluate = async (parameters: ParameterTree, step: number) => {
    const loss = scope(() => lossOf(model, parameters, tensorsOf(spreadPieces(validation, context, batch))));
    try {
      const [value = Number.NaN] = await loss.data();
      const sampling = {
        vocabulary,
        context,
        length: SAMPLE_CHARACTERS,
        seed: seed + step,
        temperature: 0.8,
      };
      onSample(step, await sampleText(model, backend, parameters, sampling));
      return { loss: value };
    } finally {
      loss.dispose();
    }
  };

  let made = 0;
  const initial = initialize(backend, model, seed);
  try {
    const { parameters, state } = await train({
      parameters: initial,
      data: dataLoader(piecesOf(training, context), {
        ...{ batchSize: batch, shuffle: true, seed, dropLast: true },
        // Lets messages to the worker in, such as "pause", even where the backend never waits.
        collate: async (pieces) => {
          await new Promise((resolve) => setTimeout(resolve));
          return pieces;
        },
      }),
      tensorsOf,
      loss: (parameters, batchOfText) => lossOf(model, parameters, batchOfText),
      optimizer: adamW({ learningRate: rate, weightDecay: 0.01, groups: [noDecay()] }),
      schedule: cosineSchedule({ warmupSteps: Math.min(100, Math.ceil(steps / 10)), totalSteps: steps }),
      maxGradNorm: 1,
      maxSteps: steps,
      // Steps of one shape: recorded once, replayed by backends that can.
      recorded: true,
      seed,
      evaluate: (parameters) => evaluate(parameters, made),
      evalSteps: every,
      checkpoints: store,
      saveSteps: every,
      saveTotalLimit: 1,
      resume: true,
      loggingSteps: 1,
      onLog,
      onProgress: (done) => {
        made = done;
      },
      signal,
    });
    disposeParameters(parameters);
    disposeParameters(state.tensors);
  } finally {
    disposeParameters(initial);
  }
}
