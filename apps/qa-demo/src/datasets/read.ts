import { createHash } from 'node:crypto';
import { TopKError } from '@topk-attention/core';
import { parseBabi } from './babi.js';
import type { Example } from './example.js';
import { parseSquad } from './squad.js';
import { readTextFile } from './text-file.js';
import { parseUnifiedQa } from './unifiedqa.js';

export const formats = ['squad', 'unifiedqa', 'babi'] as const;
export type DatasetFormat = (typeof formats)[number];

export interface Dataset {
  readonly path: string;
  readonly format: DatasetFormat;
  readonly examples: readonly Example[];
  /** SHA-256 of the file: results of one file must not be mixed with those of another. */
  readonly hash: string;
}

const parsers: { readonly [format in DatasetFormat]: (text: string, path: string) => Example[] } = {
  squad: parseSquad,
  unifiedqa: parseUnifiedQa,
  babi: parseBabi,
};

/**
 * Reads a whole dataset; a file with one bad line is refused, so that no score covers fewer questions than it seems.
 *
 * @throws TopKError FILE_NOT_FOUND, FILE_CORRUPT.
 */
export async function readDataset(path: string, format: DatasetFormat): Promise<Dataset> {
  const text = await readTextFile(path, 'dataset');
  const examples = parsers[format](text, path);
  if (examples.length === 0) {
    throw new TopKError('FILE_CORRUPT', `${path}: no questions`, {
      expected: 'at least one',
      fix: 'Check the file, and check --format',
    });
  }
  const seen = new Set<string>();
  for (const { id } of examples) {
    if (seen.has(id)) {
      throw new TopKError('FILE_CORRUPT', `${path}: the id ${id} occurs twice`, {
        expected: 'a unique id for each question',
        fix: 'Rename one of them',
      });
    }
    seen.add(id);
  }
  return { path, format, examples, hash: createHash('sha256').update(text).digest('hex') };
}

/** The first `limit` questions of each group, or of all if there are no groups. */
export function firstExamples(examples: readonly Example[], limit: number | undefined): readonly Example[] {
  if (limit === undefined) return examples;
  const taken = new Map<string, number>();
  return examples.filter(({ group = '' }) => {
    const count = taken.get(group) ?? 0;
    taken.set(group, count + 1);
    return count < limit;
  });
}
