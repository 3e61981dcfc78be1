import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isObject, kindOf } from '@topk-attention/app-kit';
import { corrupt, missing } from '../data/errors.js';
import { linesOf, plainOrGzip } from '../data/lines.js';
import { type Rows, RowsBuilder } from '../data/rows.js';
import { tasks } from '../tasks/task.js';

const encoder = new TextEncoder();

/**
 * Film reviews of a split. The first bytes of each are kept, `<br />` included, as published.
 *
 * @param folder holds `train.jsonl` (or .jsonl.gz), or aclImdb's `train/pos` and `train/neg`
 * @throws TopKError FILE_NOT_FOUND, FILE_CORRUPT
 */
export async function readReviews(folder: string, split: 'train' | 'test'): Promise<Rows> {
  const lines = plainOrGzip(join(folder, `${split}.jsonl`));
  if (lines !== undefined) return readJsonLines(lines);
  const root = [join(folder, 'aclImdb', split), join(folder, split)].find((one) =>
    existsSync(join(one, 'pos')),
  );
  if (root !== undefined) return readFolders(root);
  throw missing(
    `the reviews of '${split}' are not in ${folder}`,
    tasks.text.data,
    'Unpack aclImdb_v1.tar.gz (ai.stanford.edu/~amaas/data/sentiment) there, or name another folder with --data',
  );
}

async function readJsonLines(path: string): Promise<Rows> {
  const builder = new RowsBuilder();
  for await (const { text: line, where } of linesOf(path)) {
    let read: unknown;
    try {
      read = JSON.parse(line);
    } catch (cause) {
      throw corrupt(where, 'an object of JSON', line.slice(0, 60) || 'an empty line', cause);
    }
    const { text, label } = isObject(read) ? read : { text: undefined, label: undefined };
    if (typeof text !== 'string' || (label !== 0 && label !== 1)) {
      throw corrupt(
        where,
        'text, and label 0 or 1',
        `text: ${kindOf(text)}, label: ${JSON.stringify(label)}`,
      );
    }
    add(builder, where, label, encoder.encode(text));
  }
  if (builder.length === 0) throw corrupt(path, 'at least one row', 'none');
  return builder.build();
}

async function readFolders(root: string): Promise<Rows> {
  const builder = new RowsBuilder();
  for (const [label, name] of ['neg', 'pos'].entries()) {
    const folder = join(root, name);
    if (!existsSync(folder))
      throw missing(`${folder} is not there`, 'reviews as .txt files', 'Unpack it again');
    const files = (await readdir(folder)).filter((file) => file.endsWith('.txt')).sort();
    if (files.length === 0) throw corrupt(folder, 'reviews as .txt files', 'none');
    for (const file of files) {
      const path = join(folder, file);
      add(builder, path, label, await readFile(path));
    }
  }
  return builder.build();
}

function add(builder: RowsBuilder, where: string, label: number, bytes: Uint8Array): void {
  if (bytes.length === 0) throw corrupt(where, 'a review', 'an empty one');
  builder.add(label, bytes.subarray(0, tasks.text.tokens));
}
