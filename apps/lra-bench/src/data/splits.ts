import { createHash } from 'node:crypto';
import type { Rows } from './rows.js';

export const splitNames = ['train', 'validation', 'test'] as const;
export type SplitName = (typeof splitNames)[number];

/** The rows of a task. */
export interface Splits {
  readonly train: Rows;
  readonly validation: Rows;
  readonly test: Rows;
  /** What a table made with them has to say. */
  readonly notes: readonly string[];
}

/** One hash for all the rows: runs with one hash learned from the same data. */
export function hashOf({ train, validation, test }: Splits): string {
  const hash = createHash('sha256');
  for (const rows of [train, validation, test]) hash.update(rows.hash);
  return hash.digest('hex').slice(0, 16);
}

/** Accuracy in per cent of always answering the commonest class of these rows. */
export function majorityOf({ labels }: Rows): number {
  const counts = new Map<number, number>();
  for (const label of labels) counts.set(label, (counts.get(label) ?? 0) + 1);
  return (100 * Math.max(0, ...counts.values())) / Math.max(1, labels.length);
}
