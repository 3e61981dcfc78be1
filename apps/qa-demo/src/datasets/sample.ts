import { fileURLToPath } from 'node:url';
import { isObject } from '@topk-attention/app-kit';
import { TopKError } from '@topk-attention/core';
import { readTextFile } from './text-file.js';

interface SampleQuestion {
  readonly question: string;
  readonly answer: string;
}

/** A long text and questions about facts hidden in it. */
export interface Sample {
  readonly documentPath: string;
  readonly document: string;
  readonly questions: readonly SampleQuestion[];
}

/** The files of the bundled sample. */
export const samplePaths: { readonly document: string; readonly questions: string } = {
  document: fileURLToPath(new URL('../../data/sample-document.txt', import.meta.url)),
  questions: fileURLToPath(new URL('../../data/sample-questions.json', import.meta.url)),
};

/** @throws TopKError FILE_NOT_FOUND, FILE_CORRUPT. */
export async function readSample(documentPath: string, questionsPath: string): Promise<Sample> {
  const document = await readTextFile(documentPath, 'document');
  const questions = parseQuestions(await readTextFile(questionsPath, 'questions'), questionsPath);
  return { documentPath, document, questions };
}

function parseQuestions(text: string, path: string): SampleQuestion[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // Reported below, like any other wrong content.
  }
  const isQuestion = (each: unknown): each is SampleQuestion =>
    isObject(each) && typeof each.question === 'string' && typeof each.answer === 'string';
  if (Array.isArray(value) && value.length > 0 && value.every(isQuestion)) return value;
  throw new TopKError('FILE_CORRUPT', `${path}: not a list of questions`, {
    expected: '[{ "question": "...", "answer": "..." }, ...]',
    fix: 'Correct the file',
  });
}
