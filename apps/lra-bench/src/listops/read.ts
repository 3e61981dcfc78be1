import { join } from 'node:path';
import { corrupt } from '../data/errors.js';
import { linesOf, plainOrGzip } from '../data/lines.js';
import { type Rows, RowsBuilder } from '../data/rows.js';
import { idsOfText, NotAnExpression, textOf, valueOf } from './text.js';

/** The published names of the files. */
export const listOpsFiles = {
  train: 'basic_train.tsv',
  validation: 'basic_val.tsv',
  test: 'basic_test.tsv',
} as const;

export const LISTOPS_HEADER = 'Source\tTarget';

/** The file of a split in a folder, if it is there, compressed or not. */
export function listOpsFile(folder: string, split: keyof typeof listOpsFiles): string | undefined {
  return plainOrGzip(join(folder, listOpsFiles[split]));
}

/**
 * Reads a published or generated file: `Source TAB Target` and one expression per line. Every expression is computed, and
 * its answer compared with the file's.
 *
 * @throws TopKError FILE_CORRUPT with the line
 */
export async function readListOps(path: string, onRow?: (rows: number) => void): Promise<Rows> {
  const builder = new RowsBuilder();
  for await (const { text, where, number } of linesOf(path)) {
    if (number === 1) {
      if (text !== LISTOPS_HEADER) throw corrupt(where, `the line '${LISTOPS_HEADER}'`, text.slice(0, 60));
      continue;
    }
    const [source = '', target = '', ...more] = text.split('\t');
    if (source === '' || !/^\d$/.test(target) || more.length > 0) {
      throw corrupt(where, 'an expression, a tab and a digit', text.slice(0, 60) || 'an empty line');
    }
    const ids = checked(where, source, Number(target));
    builder.add(Number(target), ids);
    onRow?.(builder.length);
  }
  if (builder.length === 0) throw corrupt(path, 'at least one row', 'none');
  return builder.build();
}

function checked(where: string, source: string, target: number): Uint8Array {
  try {
    const ids = idsOfText(source);
    const value = valueOf(ids);
    if (value !== target) throw corrupt(where, `the answer ${value}`, `the answer ${target}`);
    return ids;
  } catch (error) {
    if (!(error instanceof NotAnExpression)) throw error;
    throw corrupt(where, 'an expression', error.message);
  }
}

/** A line of a file. */
export function listOpsLine(ids: Uint8Array, value: number): string {
  return `${textOf(ids)}\t${value}\n`;
}
