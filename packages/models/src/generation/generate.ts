import type { Interruption } from '../interruption.js';
import { stopIn } from '../text/stop-strings.js';
import type { TextTokenizer } from '../text/tokenizer.js';
import type { Hypothesis } from './beam-search.js';
import { beams } from './beams.js';
import { byScores } from './by-scores.js';
import type { Continuation, FinishReason, GeneratedToken, Rules } from './continuation.js';
import type { Decoder, DecoderEvents, DecoderState } from './decoder.js';
import type { GenerationDefaults } from './generation-config.js';
import { greedy } from './greedy.js';
import type { GenerateOptions } from './options.js';
import { processorsOf } from './processors.js';
import { settingsAmong } from './settings.js';
import { type Strategy, strategyOf } from './strategy.js';

export interface Generation {
  /** New token ids, after the start token or the prompt, up to and including what ended the sequence. */
  readonly ids: readonly number[];
  /** Logit of each token, as the model gave it. */
  readonly logits: readonly number[];
  /** The text without special tokens and without a stop string; '' when the model was loaded without a tokenizer. */
  readonly text: string;
  readonly finishReason: FinishReason;
  /** Tokens of the source. */
  readonly sourceLength: number;
  /** Of beam search: sum of log-probabilities / length ** lengthPenalty. */
  readonly score?: number;
}

/** What generation needs to know about a model. */
export interface GenerationModel {
  readonly tokenizer: TextTokenizer | undefined;
  readonly vocabSize: number;
  readonly padId: number;
  readonly eosIds: readonly number[];
  /** What its checkpoint says. */
  readonly defaults: GenerationDefaults;
}

/** A call, once its settings have been checked. */
export interface GenerationTask {
  readonly rules: Rules;
  readonly model: GenerationModel;
}

/** Which of a model's functions is called. */
export type GenerationCall = 'generate' | 'generateBatch' | 'stream';

/**
 * Checks the settings of a call, before anything runs.
 *
 * @throws TopKError INVALID_OPTION as `strategyOf`
 */
export function generationTask(
  where: GenerationCall,
  model: GenerationModel,
  options: GenerateOptions,
): GenerationTask {
  const { tokenizer, vocabSize, eosIds, padId, defaults } = model;
  const strategy = strategyOf(settingsAmong(options), defaults, {
    where,
    isBatch: where === 'generateBatch',
    isStreamed: where === 'stream' || options.onToken !== undefined,
    hasTokenizer: tokenizer !== undefined,
    vocabSize,
    eosIds,
  });
  return { model, rules: { where, strategy, tokenizer, padId } };
}

/** Continues prompts: yields tokens as they are known, returns the result of each row. */
export async function* generate<State extends DecoderState>(
  decoder: Decoder<State>,
  prompts: readonly (readonly number[])[],
  task: GenerationTask,
  interruption: Interruption,
  { onToken, onProgress }: Pick<GenerateOptions, 'onToken' | 'onProgress'>,
): AsyncGenerator<GeneratedToken, Generation[]> {
  const { rules, model } = task;
  const { strategy } = rules;
  const events: DecoderEvents = { interruption, onProgress };
  const sourceLength = (row: number): number =>
    (prompts[Math.floor(row / strategy.numReturnSequences)] as readonly number[]).length;
  if (strategy.mode === 'beams') {
    const results = await beams(decoder, prompts, rules, model.vocabSize, events);
    return results.map((result, row) => fromHypothesis(result, rules, sourceLength(row)));
  }
  const steps = isPlain(strategy)
    ? greedy(decoder, prompts, rules, events)
    : byScores(decoder, prompts, rules, model.vocabSize, events);
  const rows = yield* flat(steps, onToken);
  return rows.map(({ ids, logits, text, finishReason }, row) => ({
    ids,
    logits,
    text,
    finishReason: finishReason as FinishReason,
    sourceLength: sourceLength(row),
  }));
}

/** Whether the best logit is the next token, so that nothing else has to leave the device. */
function isPlain(strategy: Strategy): boolean {
  return strategy.mode === 'greedy' && processorsOf(strategy).length === 0;
}

async function* flat(
  steps: AsyncGenerator<readonly GeneratedToken[], readonly Continuation[]>,
  onToken: GenerateOptions['onToken'],
): AsyncGenerator<GeneratedToken, readonly Continuation[]> {
  try {
    for (;;) {
      const step = await steps.next();
      if (step.done === true) return step.value;
      for (const token of step.value) {
        onToken?.(token);
        yield token;
      }
    }
  } finally {
    // Where the caller has left early; otherwise it has ended.
    await steps.return([]);
  }
}

function fromHypothesis(
  { ids, logits, score, finishReason }: Hypothesis,
  { tokenizer, padId, strategy: { eosIds, stopStrings } }: Rules,
  sourceLength: number,
): Generation {
  const shown = ids.filter((id) => id !== padId && !eosIds.includes(id));
  const whole = tokenizer?.decode(shown) ?? '';
  const { end, isStopped } = stopIn(whole, stopStrings);
  return {
    ids,
    logits,
    text: isStopped ? whole.slice(0, end) : whole,
    finishReason: finishReason as FinishReason,
    sourceLength,
    score,
  };
}
