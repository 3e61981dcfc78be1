import { TopKError } from '@topk-attention/core';

/** What stands on top of the encoder, by the names that the Hub gives to tasks. */
export type EncoderTask =
  | 'feature-extraction'
  | 'text-classification'
  | 'token-classification'
  | 'fill-mask'
  | 'question-answering';

/** Endings of the names of transformers' classes. */
const endings: readonly (readonly [ending: RegExp, task: EncoderTask])[] = [
  [/ForSequenceClassification$/, 'text-classification'],
  [/ForTokenClassification$/, 'token-classification'],
  [/For(MaskedLM|PreTraining)$/, 'fill-mask'],
  [/ForQuestionAnswering$/, 'question-answering'],
  [/Model$/, 'feature-extraction'],
];

export const encoderTasks: readonly EncoderTask[] = [
  'feature-extraction',
  'text-classification',
  'token-classification',
  'fill-mask',
  'question-answering',
];

/**
 * The task of a checkpoint, from the `architectures` of its config.json; without any it is 'feature-extraction'.
 *
 * @throws TopKError UNSUPPORTED for a class with a head that is not there
 */
export function taskOf(architectures: unknown, file: string): EncoderTask {
  const [name] = Array.isArray(architectures) ? architectures : [];
  if (name === undefined) return 'feature-extraction';
  const found = endings.find(([ending]) => ending.test(String(name)));
  if (found !== undefined) return found[1];
  throw new TopKError('UNSUPPORTED', `${file}: no such head`, {
    expected: `a class for one of ${encoderTasks.join(', ')}`,
    got: String(name),
    fix: "Pass task: 'feature-extraction' to use its encoder alone",
  });
}
