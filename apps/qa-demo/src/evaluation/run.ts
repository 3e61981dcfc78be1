import type { Journal } from '@topk-attention/app-kit/node';
import { scoreAnswer } from '@topk-attention/models';
import type { Example } from '../datasets/example.js';
import type { EngineChild } from '../engine/engine-child.js';
import type { AnswerRequest } from '../engine/protocol.js';
import { type Entry, entryKey } from './entry.js';
import type { Variant } from './variant.js';

export interface RunOptions {
  readonly maxNewTokens: number;
  readonly budgetBytes?: number;
  /** Answers found here are not computed again; new ones are added. */
  readonly journal?: Journal<Entry>;
  readonly signal: AbortSignal;
  /** After each answer, computed or found. */
  readonly onAnswer: (done: number, variant: Variant) => void;
}

/**
 * Every variant's answer to every question, question by question, so that a run that is stopped early has all variants on
 * the same questions. Returns `[variant][example]`.
 */
export async function runEvaluation(
  engine: EngineChild,
  variants: readonly Variant[],
  examples: readonly Example[],
  { journal, signal, onAnswer, ...limits }: RunOptions,
): Promise<Entry[][]> {
  const results: Entry[][] = variants.map(() => []);
  let done = 0;
  for (const [index, example] of examples.entries()) {
    for (const [at, variant] of variants.entries()) {
      signal.throwIfAborted();
      let entry = journal?.find(entryKey({ id: example.id, variant: variant.name }));
      if (entry === undefined) {
        entry = await answerOne(engine, variant, example, index, limits, signal);
        journal?.add(entry);
      }
      results[at]?.push(entry);
      onAnswer(++done, variant);
    }
  }
  return results;
}

async function answerOne(
  engine: EngineChild,
  variant: Variant,
  example: Example,
  index: number,
  limits: Pick<AnswerRequest, 'maxNewTokens' | 'budgetBytes'>,
  signal: AbortSignal,
): Promise<Entry> {
  const { id, question, context, golds } = example;
  const { attentionK, feedForwardK, isRandom, cross } = variant;
  const { text, milliseconds, promptTokens } = await engine.answer(
    {
      question,
      context,
      attentionK,
      feedForwardK,
      // The place in the dataset: the random keys are the same whether or not the run was resumed.
      ...(isRandom && { randomSeed: index + 1 }),
      ...(cross && { cross }),
      ...limits,
    },
    signal,
  );
  return {
    id,
    variant: variant.name,
    prediction: text,
    ...scoreAnswer(text, golds),
    milliseconds,
    promptTokens,
  };
}
