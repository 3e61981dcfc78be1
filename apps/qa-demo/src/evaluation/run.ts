import { scoreAnswer } from '@topk-attention/models';
import type { Example } from '../datasets/example.js';
import type { AnswerRequest, Engine } from '../engine/types.js';
import type { Journal, JournalEntry } from './journal.js';
import type { Variant } from './variant.js';

export interface RunOptions {
  readonly maxNewTokens: number;
  readonly budgetBytes?: number;
  /** Answers found here are not computed again; new ones are added. */
  readonly journal?: Journal;
  readonly signal: AbortSignal;
  /** After each answer, computed or found. */
  readonly onAnswer: (done: number, variant: Variant) => void;
}

/**
 * Every variant's answer to every question, question by question, so that a run that is stopped early has all variants on
 * the same questions. Returns `[variant][example]`.
 */
export async function runEvaluation(
  engine: Engine,
  variants: readonly Variant[],
  examples: readonly Example[],
  { journal, signal, onAnswer, ...limits }: RunOptions,
): Promise<JournalEntry[][]> {
  const results: JournalEntry[][] = variants.map(() => []);
  let done = 0;
  for (const [index, example] of examples.entries()) {
    for (const [at, variant] of variants.entries()) {
      signal.throwIfAborted();
      let entry = journal?.find(example.id, variant.name);
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
  engine: Engine,
  variant: Variant,
  example: Example,
  index: number,
  limits: Pick<AnswerRequest, 'maxNewTokens' | 'budgetBytes'>,
  signal: AbortSignal,
): Promise<JournalEntry> {
  const { id, question, context, golds } = example;
  const { attentionK, feedForwardK, isRandom } = variant;
  const { text, milliseconds, promptTokens } = await engine.answer(
    {
      question,
      context,
      attentionK,
      feedForwardK,
      // Its place in the dataset: the same keys at random whether the run was resumed or not.
      ...(isRandom && { randomSeed: index + 1 }),
      ...limits,
    },
    {},
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
