import { anArray, aString, type OptionKinds, readOptions, required } from '@topk-attention/core';

/** A question in any of UnifiedQA's formats. */
export interface UnifiedQAQuestion {
  readonly question: string;
  /** Options of a multiple-choice question, in order: they become (A), (B), ... */
  readonly choices?: readonly string[];
  readonly context?: string;
}

const kinds: OptionKinds<UnifiedQAQuestion> = {
  question: required(aString),
  choices: anArray(),
  context: aString,
};

/** Parts are separated by these two characters, not by a newline. */
const SEPARATOR = ' \\n ';

/**
 * The one-line input that UnifiedQA was trained on, in lower case: question, choices, context (paper section 5.1).
 *
 * @example
 * formatUnifiedQA({ question: 'Where is Ann?', context: 'Ann is in the garden.' }); // 'where is ann? \\n ann is in the garden.'
 */
export function formatUnifiedQA(given: UnifiedQAQuestion): string {
  const { question, choices, context } = readOptions('formatUnifiedQA', given, kinds);
  const options = choices
    ?.map((choice, index) => `(${String.fromCharCode(65 + index)}) ${choice.trim()}`)
    .join(' ');
  return [question, options, context]
    .filter((part) => part !== undefined)
    .map((part) => part.trim().replace(/\s+/g, ' '))
    .filter((part) => part !== '')
    .join(SEPARATOR)
    .toLowerCase();
}
