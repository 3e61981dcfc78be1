import { seededRandom } from '@topk-attention/app-kit';
import { type Backend, TopKError } from '@topk-attention/core';
import { disposeParameters, summary } from '@topk-attention/nn';
import { inUnits, meanLoss } from './evaluate.js';
import { languageModel } from './model.js';
import type { RunConfig, RunResult } from './run-folder.js';
import { sample } from './sample.js';
import type { Tokenizer } from './tokenizer.js';
import { type TrainModelOptions, trainModel } from './train-model.js';
import { windowsOf } from './windows.js';

export interface Texts {
  readonly train: string;
  readonly test: string;
}

export interface TrainRunOptions
  extends Pick<TrainModelOptions, 'folder' | 'resume' | 'onLog' | 'onProgress' | 'signal'> {
  /** Tokens of the sample at the end, within the context. */
  readonly sampleLength: number;
}

/**
 * A whole run: trains a model, tests it on the whole test text, and writes a sample that begins with that text's first
 * token.
 *
 * @throws TopKError INVALID_OPTION for texts that are shorter than the context, and for more parameters than any device
 * holds; and as `train`.
 */
export async function trainRun(
  backend: Backend,
  config: RunConfig,
  tokenizer: Tokenizer,
  texts: Texts,
  { sampleLength, ...options }: TrainRunOptions,
): Promise<RunResult> {
  const { folder, resume, signal } = options;
  const { seed, training } = config;
  const { context } = config.model;
  const [train, test] = [tokenizer.encode(texts.train), tokenizer.encode(texts.test)];
  const trainWindows = windowsOf(train, context, 1);
  const testWindows = windowsOf(test, context, context);
  if (trainWindows.length < training.batchSize || testWindows.length === 0) {
    throw new TopKError('INVALID_OPTION', 'the text is too short', {
      expected: `${context + training.batchSize} tokens to train on, and ${context + 1} to test on`,
      got: `${train.length} and ${test.length}`,
      fix: 'Take a longer text, or a smaller context',
    });
  }
  requireSize(config.model);
  const model = languageModel(config.model);
  folder?.begin(config, tokenizer.vocabulary, resume);
  const data = { trainWindows, testWindows, training, seed };
  const parameters = await trainModel(backend, model, { ...data, ...options });
  try {
    const loss = await meanLoss(model, parameters, testWindows, { batchSize: training.batchSize });
    const prompt = test.subarray(0, 1);
    const written = await sample(model, parameters, prompt, {
      length: Math.min(sampleLength, context - 1),
      ...{ temperature: 0.8, top: 40, random: seededRandom(seed) },
      ...(signal && { signal }),
    });
    const result: RunResult = {
      ...{ loss, ...inUnits(config.tokens, loss), parameters: summary(model).count },
      ...{ trainTokens: train.length, testTokens: test.length },
      sample: tokenizer.decode([...prompt, ...written]),
    };
    folder?.end(result);
    return result;
  } finally {
    disposeParameters(parameters);
  }
}

/** With gradients and AdamW's averages 512 GiB, more than any device has. */
const MOST_PARAMETERS = 2 ** 35;

/** Before anything is made: an engine that runs out of memory may end the process without a word. */
function requireSize({ vocabulary, layers, width }: RunConfig['model']): void {
  // Projections and feed-forward layers, and the table of tokens; biases and norms are few.
  const parameters = 12 * layers * width ** 2 + vocabulary * width;
  if (parameters <= MOST_PARAMETERS) return;
  throw new TopKError('INVALID_OPTION', 'the model is too large', {
    expected: `at most ${MOST_PARAMETERS} parameters`,
    got: `${parameters} in ${layers} layers of width ${width}`,
    fix: 'Take fewer layers, or a smaller width',
  });
}
