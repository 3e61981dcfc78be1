import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { corrupt, missing, truncated } from '../data/errors.js';
import { type Rows, RowsBuilder } from '../data/rows.js';
import { tasks } from '../tasks/task.js';
import { greyOf } from './grey.js';

const PIXELS = 32 * 32;
const RECORD = 1 + 3 * PIXELS;
const files = {
  train: [1, 2, 3, 4, 5].map((at) => `data_batch_${at}.bin`),
  test: ['test_batch.bin'],
} as const;

/** The folder that holds CIFAR-10 in its binary form: the given one, or the archive's own in it. */
export function cifarFolder(folder: string): string | undefined {
  return [folder, join(folder, 'cifar-10-batches-bin')].find((one) =>
    existsSync(join(one, 'test_batch.bin')),
  );
}

/**
 * CIFAR-10 in its binary form: records of a label and 32 x 32 red, green and blue values, made grey.
 *
 * @throws TopKError FILE_NOT_FOUND, FILE_TRUNCATED, FILE_CORRUPT
 */
export async function readCifarBinary(folder: string, split: 'train' | 'test'): Promise<Rows> {
  const builder = new RowsBuilder();
  for (const name of files[split]) {
    const path = join(folder, name);
    if (!existsSync(path))
      throw missing(`${path} is not there`, tasks.image.data, 'Unpack the archive again');
    const bytes = await readFile(path);
    const left = bytes.length % RECORD;
    if (bytes.length === 0 || left !== 0) {
      throw truncated(
        path,
        `records of ${RECORD} bytes`,
        `${Math.floor(bytes.length / RECORD)} and ${left} bytes`,
      );
    }
    for (let at = 0; at < bytes.length; at += RECORD) {
      const label = bytes[at] as number;
      if (label > 9) throw corrupt(`${path}, record ${at / RECORD}`, 'a label from 0 to 9', String(label));
      builder.add(label, greyOf(interleaved(bytes.subarray(at + 1, at + RECORD))));
    }
  }
  return builder.build();
}

/** All reds, then all greens, then all blues -> red, green, blue of each pixel. */
function interleaved(planes: Uint8Array): Uint8Array {
  return Uint8Array.from(planes, (_, at) => planes[(at % 3) * PIXELS + Math.floor(at / 3)] as number);
}
