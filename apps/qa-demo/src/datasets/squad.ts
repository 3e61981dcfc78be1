import { isObject, kindOf } from '@topk-attention/app-kit';
import { TopKError } from '@topk-attention/core';
import { type Example, NO_ANSWER } from './example.js';

/**
 * SQuAD 1.1 and 2.0: `{ data: [{ paragraphs: [{ context, qas: [{ id, question, answers: [{ text }] }] }] }] }`. A question
 * marked `is_impossible` has the one answer `<No Answer>`.
 *
 * @throws TopKError FILE_CORRUPT with the place inside the file.
 */
export function parseSquad(text: string, path: string): Example[] {
  const examples: Example[] = [];
  const articles = list(field(parseJson(text, path), 'data', path, ''), path, 'data');
  for (const [a, article] of articles.entries()) {
    const place = `data[${a}]`;
    for (const [p, paragraph] of list(
      field(article, 'paragraphs', path, place),
      path,
      `${place}.paragraphs`,
    ).entries()) {
      const inside = `${place}.paragraphs[${p}]`;
      const context = string(field(paragraph, 'context', path, inside), path, `${inside}.context`);
      const questions = list(field(paragraph, 'qas', path, inside), path, `${inside}.qas`);
      for (const [q, question] of questions.entries()) {
        examples.push(parseQuestion(question, context, path, `${inside}.qas[${q}]`));
      }
    }
  }
  return examples;
}

function parseQuestion(value: unknown, context: string, path: string, place: string): Example {
  const answers = list(field(value, 'answers', path, place), path, `${place}.answers`);
  const golds = answers.map((answer, at) =>
    string(field(answer, 'text', path, `${place}.answers[${at}]`), path, `${place}.answers[${at}].text`),
  );
  const isImpossible = isObject(value) && value.is_impossible === true;
  if (golds.length === 0 && !isImpossible) throw bad(path, `${place}.answers`, 'at least one answer', 'none');
  return {
    id: string(field(value, 'id', path, place), path, `${place}.id`),
    question: string(field(value, 'question', path, place), path, `${place}.question`),
    context,
    golds: isImpossible ? [NO_ANSWER] : golds,
  };
}

function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const position = Number(/position (\d+)/.exec(message)?.[1] ?? text.length);
    const line = text.slice(0, position).split('\n').length;
    throw new TopKError('FILE_CORRUPT', `${path}:${line}: not JSON`, {
      expected: 'one JSON object in the format of SQuAD',
      got: message,
      fix: 'Check that the file is complete, and check --format',
      cause: error,
    });
  }
}

function field(value: unknown, name: string, path: string, place: string): unknown {
  if (!isObject(value)) throw bad(path, place || 'the file', 'an object', kindOf(value));
  return value[name];
}

function list(value: unknown, path: string, place: string): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw bad(path, place, 'a list', kindOf(value));
}

function string(value: unknown, path: string, place: string): string {
  if (typeof value === 'string') return value;
  throw bad(path, place, 'text', kindOf(value));
}

function bad(path: string, place: string, expected: string, got: string): TopKError {
  return new TopKError('FILE_CORRUPT', `${path}: ${place} does not follow the SQuAD format`, {
    expected,
    got,
    fix: 'Check the file, and check --format',
  });
}
