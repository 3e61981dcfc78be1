import { crossEntropy, reshape, scope, type Tensor, tensor } from '@topk-attention/core';
import {
  createT5,
  formatUnifiedQA,
  type LayerChoices,
  type T5Config,
  type TextTokenizer,
  t5Forward,
} from '@topk-attention/models';
import {
  adamW,
  dataLoader,
  disposeParameters,
  type LogEntry,
  linearSchedule,
  type ParameterTree,
  type Seeds,
  train,
} from '@topk-attention/nn';
import type { Question } from './who-is-in.js';

/** A question and its answer as token ids, each with its end of sequence. */
export interface Example {
  readonly source: readonly number[];
  readonly answer: readonly number[];
}

/** Examples of one length each: rows are padded on the right. */
export interface Batch {
  readonly sources: readonly (readonly number[])[];
  readonly sourceLengths: readonly number[];
  /** The decoder's input: its start id, then the answer without its last token. */
  readonly targets: readonly (readonly number[])[];
  /** The token to be predicted at each place of the targets; -1 for padding. */
  readonly labels: Int32Array;
  /** Tokens of all answers. */
  readonly tokens: number;
}

export interface FineTuneOptions {
  /** Exact or top-k, layer by layer. */
  readonly choices: LayerChoices;
  readonly steps: number;
  readonly batchSize: number;
  readonly learningRate: number;
  /** Of the order of the questions, and dropout. */
  readonly seed: number;
  readonly onLog?: (entry: LogEntry) => void;
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

export function toExample(tokenizer: TextTokenizer, question: Question): Example {
  return { source: tokenizer.encode(promptOf(question)), answer: tokenizer.encode(question.answer) };
}

const promptOf = ({ question, context }: Question): string => formatUnifiedQA({ question, context });

export function toBatch(
  { padId, decoderStartId }: Pick<T5Config, 'padId' | 'decoderStartId'>,
  examples: readonly Example[],
): Batch {
  const sources = examples.map(({ source }) => source);
  const answers = examples.map(({ answer }) => answer);
  const longest = Math.max(...answers.map((answer) => answer.length));
  return {
    sources: padded(sources, Math.max(...sources.map((source) => source.length)), padId),
    sourceLengths: sources.map((source) => source.length),
    targets: padded(
      answers.map((answer) => [decoderStartId, ...answer.slice(0, -1)]),
      longest,
      padId,
    ),
    labels: Int32Array.from(padded(answers, longest, -1).flat()),
    tokens: answers.flat().length,
  };
}

function padded(
  rows: readonly (readonly number[])[],
  length: number,
  pad: number,
): readonly (readonly number[])[] {
  return rows.map((row) => [...row, ...new Array<number>(length - row.length).fill(pad)]);
}

/** The mean loss per token of the answers, in training. */
export function lossOf(
  config: T5Config,
  parameters: ParameterTree,
  batch: Batch,
  choices: LayerChoices,
  seeds: Seeds,
): Tensor {
  return scope(() => {
    const { backend } = Object.values(parameters)[0]!;
    const { labels, sources, sourceLengths, targets } = batch;
    const logits = t5Forward(
      config,
      parameters,
      { sources, sourceLengths, targets },
      { choices, training: true, seeds },
    );
    return crossEntropy(
      reshape(logits, [labels.length, config.vocabSize]),
      tensor(backend, labels, [labels.length], 'i32'),
    );
  });
}

/** Parameters trained on from given ones, which stay the caller's, as the result does. */
export async function fineTune(
  config: T5Config,
  parameters: ParameterTree,
  examples: readonly Example[],
  { choices, steps, batchSize, learningRate, seed, ...others }: FineTuneOptions,
): Promise<ParameterTree> {
  const result = await train({
    parameters,
    data: dataLoader(examples, {
      ...{ batchSize, seed, shuffle: true, dropLast: true },
      collate: (batch: readonly Example[]) => toBatch(config, batch),
    }),
    weightOf: ({ tokens }) => tokens,
    loss: (now, batch, { seeds }) => lossOf(config, now, batch, choices, seeds),
    optimizer: adamW({ learningRate, weightDecay: 0 }),
    schedule: linearSchedule({ warmupSteps: Math.ceil(steps / 10), totalSteps: steps }),
    maxGradNorm: 1,
    maxSteps: steps,
    seed,
    ...others,
  });
  disposeParameters(result.state.tensors);
  return result.parameters;
}

/** The share of questions whose generated answer is the right one. The parameters stay the caller's. */
export async function accuracy(
  config: T5Config,
  parameters: ParameterTree,
  tokenizer: TextTokenizer,
  questions: readonly Question[],
  { choices, batchSize, signal }: Pick<FineTuneOptions, 'choices' | 'batchSize' | 'signal'>,
): Promise<number> {
  const own = Object.fromEntries(
    Object.entries(parameters).map(([name, one]) => [name, one.unscopedAlias()]),
  );
  const model = createT5(config, own, { tokenizer, ...choices });
  try {
    let right = 0;
    for (let at = 0; at < questions.length; at += batchSize) {
      const asked = questions.slice(at, at + batchSize);
      const answers = await model.generateBatch(asked.map(promptOf), { ...(signal && { signal }) });
      right += answers.filter(({ text }, index) => text.trim() === asked[index]?.answer).length;
    }
    return right / questions.length;
  } finally {
    model.dispose();
  }
}
