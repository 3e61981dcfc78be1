import { TopKError } from '@topk-attention/core';

/** A story of bAbI up to one of its questions. */
export interface Story {
  /** Sentences, in order. */
  readonly facts: readonly string[];
  /** The answer to the question that the file asks there. */
  readonly answer: string;
}

/**
 * The stories of a bAbI file: numbered lines that begin again at 1 with each story; a question is followed by a tab and
 * its answer.
 *
 * @throws TopKError FILE_CORRUPT with the line, or for a file without a question.
 */
export function readStories(text: string, path: string): readonly Story[] {
  const stories: Story[] = [];
  let facts: string[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue;
    const [, number, sentence = '', answer] = /^(\d+) ([^\t]+)(?:\t([^\t]+))?/.exec(line) ?? [];
    if (number === undefined) {
      throw new TopKError('FILE_CORRUPT', `${path}: line ${index + 1} is none of a bAbI file`, {
        expected: 'a number and a sentence, and after a question a tab and its answer',
        got: line.slice(0, 80),
        fix: 'Name a file such as qa1_single-supporting-fact_train.txt',
      });
    }
    if (number === '1') facts = [];
    if (answer === undefined) facts = [...facts, sentence.trim()];
    else stories.push({ facts, answer: answer.trim() });
  }
  if (stories.length === 0) {
    throw new TopKError('FILE_CORRUPT', `${path} has no question`, {
      ...{ expected: 'the stories and questions of a bAbI file', got: 'none' },
      fix: 'Name a file such as qa1_single-supporting-fact_train.txt',
    });
  }
  return stories;
}
