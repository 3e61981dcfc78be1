import type { Example } from './example.js';
import { badLine, numberedLines } from './text-file.js';

/**
 * UnifiedQA's tables: two columns separated by a tab, input and answer. The input is question, options and passage,
 * separated by the two characters backslash and n (not a line break). The line number is the question's id.
 *
 * @throws TopKError FILE_CORRUPT with the line.
 */
export function parseUnifiedQa(text: string, path: string): Example[] {
  return numberedLines(text).map(({ line, content }) => {
    const columns = content.split('\t');
    const [input, answer] = columns;
    if (columns.length !== 2 || input === undefined || answer === undefined) {
      throw badLine(
        path,
        line,
        'two columns separated by a tab: input, answer',
        `${columns.length}: ${content}`,
      );
    }
    // Only the first separator: what follows, options or passage, goes to the model as it is.
    const [question = '', ...rest] = input.split('\\n');
    if (question.trim() === '') throw badLine(path, line, 'a question before the first \\n', input);
    return {
      id: `line ${line}`,
      question: question.trim(),
      context: rest.join('\\n').trim(),
      golds: [answer.trim()],
    };
  });
}
