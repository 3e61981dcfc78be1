import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isObject } from '@topk-attention/app-kit';
import { corrupt } from '../data/errors.js';
import { writeJson } from '../runs/run-folder.js';

/** A trained model under another number of kept keys, without retraining. */
export interface Evaluation {
  /** Keys that each query keeps. */
  readonly k: number | 'exact';
  readonly accuracy: number;
  readonly loss: number;
  readonly examples: number;
}

const FILE = 'evaluations.json';

/** What is known about a run under other numbers of kept keys, by k; exact last. */
export function readEvaluations(folder: string): readonly Evaluation[] {
  const path = join(folder, FILE);
  if (!existsSync(path)) return [];
  try {
    const read: unknown = JSON.parse(readFileSync(path, 'utf8'));
    if (isObject(read) && Array.isArray(read.evaluations)) return read.evaluations as Evaluation[];
  } catch {
    // No JSON.
  }
  throw corrupt(path, 'a list of evaluations', 'something else');
}

/** Adds to what is known; of two with one k, the later counts. */
export function addEvaluations(folder: string, fresh: readonly Evaluation[]): void {
  const all = new Map([...readEvaluations(folder), ...fresh].map((one) => [one.k, one]));
  const order = ({ k }: Evaluation): number => (k === 'exact' ? Number.POSITIVE_INFINITY : k);
  const evaluations = [...all.values()].sort((a, b) => (order(a) < order(b) ? -1 : 1));
  writeJson(join(folder, FILE), { evaluations });
}
