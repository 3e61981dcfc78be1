import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { corrupt, missing } from '../data/errors.js';
import { linesOf } from '../data/lines.js';
import { type Rows, RowsBuilder } from '../data/rows.js';
import type { SplitName } from '../data/splits.js';
import { tasks } from '../tasks/task.js';

/** The published names of the files. */
const files: { readonly [split in SplitName]: string } = {
  train: 'new_aan_pairs.train.tsv',
  validation: 'new_aan_pairs.eval.tsv',
  test: 'new_aan_pairs.test.tsv',
};

const encoder = new TextEncoder();

/**
 * Pairs of papers: label, two ids, two texts, apart by tabs; no header and no quoting.
 *
 * @throws TopKError FILE_NOT_FOUND, which says where the files come from; FILE_CORRUPT
 */
export async function readPairs(folder: string, split: SplitName): Promise<Rows> {
  const path = join(folder, files[split]);
  if (!existsSync(path)) {
    throw missing(
      `${path} is not there`,
      tasks.retrieval.data,
      'The pairs of the ACL Anthology Network come in the folder tsv_data of lra_release.gz (7.7 GB, storage.googleapis.com/long-range-arena). Name that folder with --data. Nothing here can make them',
    );
  }
  const builder = new RowsBuilder(2);
  for await (const { text, where } of linesOf(path)) {
    const [label = '', first, second, ...texts] = text.split('\t');
    const [one = '', other = ''] = texts;
    if (!/^[01](\.0)?$/.test(label) || second === undefined || texts.length !== 2) {
      throw corrupt(
        where,
        'five columns: 0.0 or 1.0, id, id, text, text',
        text.slice(0, 60) || 'an empty line',
      );
    }
    if (one === '' || other === '')
      throw corrupt(where, 'two texts', `an empty one, of ${one === '' ? first : second}`);
    const [a, b] = [one, other].map((each) => encoder.encode(each).subarray(0, tasks.retrieval.tokens));
    builder.add(Number(label), a as Uint8Array, b as Uint8Array);
  }
  if (builder.length === 0) throw corrupt(path, 'at least one row', 'none');
  return builder.build();
}
