import { formatCount } from '@topk-attention/app-kit';
import { unfamiliarWords } from '../engine/embedded-model.js';
import type { AnswerRequest, EngineInfo, EngineSettings } from '../engine/protocol.js';

/** Below this share of known characters an answer has little to do with the text. */
const MOSTLY_KNOWN = 0.5;

/** For a text longer than any that the model saw in training; it runs all the same. */
export function lengthWarning(info: EngineInfo, promptTokens: number): string | undefined {
  const { trainedTokens } = info;
  if (trainedTokens === undefined || promptTokens <= trainedTokens) return undefined;
  return `Warning: ${formatCount(promptTokens)} tokens, but this model was trained on at most ${formatCount(trainedTokens)}; answers may be worse, and time grows with the square of the length.`;
}

/**
 * Warnings about a question before anything runs: there is no text to answer it from, or the model cannot know its
 * words.
 */
export function requestWarnings(
  { model }: EngineSettings,
  { question, context }: Pick<AnswerRequest, 'question' | 'context'>,
): readonly string[] {
  const unfamiliar = model === 'embedded' ? unfamiliarWords(question) : [];
  const listed = unfamiliar.slice(0, 3).map((word) => `"${word}"`);
  return [
    // Control characters are not text either.
    ...(/[^\s\p{Cc}]/u.test(context)
      ? []
      : [
          'Warning: no text to answer from, so the answer is a guess. Name one with --context, or pipe one in.',
        ]),
    ...(unfamiliar.length === 0
      ? []
      : [
          `Warning: the included model understands only questions worded as in bAbI, such as "Where is Mary?", about texts such as "Mary went to the kitchen."; it does not know ${listed.join(', ')} in a question. Use --model for others.`,
        ]),
  ];
}

/** For a text that the tokenizer has no pieces for: another script, or no text at all. */
export function unknownTextWarning(known: number): string | undefined {
  if (known >= MOSTLY_KNOWN) return undefined;
  const percent = Math.round(100 * (1 - known));
  return `Warning: the model's tokenizer does not know ${percent} % of this text; the answer has little to do with it.`;
}
