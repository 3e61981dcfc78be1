import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { corrupt, missing } from '../data/errors.js';
import { type Rows, RowsBuilder } from '../data/rows.js';
import { tasks } from '../tasks/task.js';
import { greyImage } from './decode.js';
import { mapInOrder } from './map-in-order.js';

const IMAGE = /\.(png|jpe?g)$/i;

/**
 * Pictures in a folder per class. Classes count in the order of their names. Rows take one picture of each class in
 * turn, so that any part of them has every class.
 *
 * @throws TopKError FILE_NOT_FOUND, FILE_CORRUPT
 */
export async function readImageFolders(
  folder: string,
  split: 'train' | 'test',
  onRow?: (rows: number, total: number) => void,
): Promise<Rows> {
  const root = join(folder, split);
  const { side = 0, classes, data } = tasks.image;
  if (!existsSync(root))
    throw missing(`the pictures of '${split}' are not in ${folder}`, data, 'Name their folder with --data');
  const entries = await readdir(root, { withFileTypes: true });
  const names = entries
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort();
  if (names.length !== classes)
    throw corrupt(root, `${classes} folders, one per class`, String(names.length));
  const files: { readonly path: string; readonly label: number; readonly at: number }[] = [];
  for (const [label, name] of names.entries()) {
    const own = (await readdir(join(root, name))).filter((file) => IMAGE.test(file)).sort();
    if (own.length === 0) throw corrupt(join(root, name), 'PNG or JPEG files', 'none');
    files.push(...own.map((file, at) => ({ path: join(root, name, file), label, at })));
  }
  files.sort((a, b) => a.at - b.at || a.label - b.label);
  const builder = new RowsBuilder();
  for await (const [{ label }, pixels] of mapInOrder(files, ({ path }) => greyImage(path, side))) {
    builder.add(label, pixels);
    onRow?.(builder.length, files.length);
  }
  return builder.build();
}
