import { isObject, kindOf } from '@topk-attention/app-kit';
import type { Example } from './example.js';
import { badLine, numberedLines } from './text-file.js';

/**
 * Lines of JSON, `{ id, task, question, context, answer }` each; scores are averaged within a task first. `answer` may be a
 * list of acceptable ones.
 *
 * @throws TopKError FILE_CORRUPT with the line.
 */
export function parseBabi(text: string, path: string): Example[] {
  return numberedLines(text).map(({ line, content }) => {
    const expected = 'a JSON object { id, task, question, context, answer }';
    let value: unknown;
    try {
      value = JSON.parse(content);
    } catch {
      throw badLine(path, line, expected, content);
    }
    if (!isObject(value)) throw badLine(path, line, expected, kindOf(value));
    const read = (name: string): string => {
      const found = value[name];
      if (typeof found === 'string') return found;
      if (typeof found === 'number') return String(found);
      throw badLine(path, line, `text in "${name}"`, kindOf(found));
    };
    const { answer } = value;
    const golds =
      Array.isArray(answer) && answer.every((each) => typeof each === 'string') ? answer : [read('answer')];
    if (golds.length === 0) throw badLine(path, line, 'at least one answer', 'none');
    return {
      id: read('id'),
      group: read('task'),
      question: read('question'),
      context: read('context'),
      golds,
    };
  });
}
