import { existsSync } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { corrupt, missing } from '../data/errors.js';
import { type Rows, RowsBuilder } from '../data/rows.js';
import { greyImage } from '../images/decode.js';
import { mapInOrder } from '../images/map-in-order.js';
import { tasks } from '../tasks/task.js';

/** Fields of a line of metadata that count: folder, file, label. */
const [FOLDER, FILE, LABEL] = [0, 1, 3];

/**
 * The published form: `imgs/<n>/sample_<m>.png`, and `metadata/<n>.npy`, which is text with a line per picture. Empty files,
 * of which the archive has one, are left out.
 *
 * @throws TopKError FILE_NOT_FOUND, FILE_CORRUPT
 */
export async function readPathfinderFolder(
  task: 'pathfinder' | 'path-x',
  folder: string,
  onRow?: (rows: number, total: number) => void,
): Promise<Rows> {
  const { data, side = 0 } = tasks[task];
  const metadata = join(folder, 'metadata');
  if (!existsSync(metadata))
    throw missing(
      `the pictures are not in ${folder}`,
      data,
      'Generate them, or name their folder with --data',
    );
  const order = new Intl.Collator('en', { numeric: true });
  const lists = (await readdir(metadata)).filter((name) => name.endsWith('.npy')).sort(order.compare);
  const pictures: { readonly path: string; readonly label: number }[] = [];
  for (const name of lists) {
    const path = join(metadata, name);
    const lines = (await readFile(path, 'latin1')).split('\n').filter((line) => line.trim() !== '');
    for (const [at, line] of lines.entries()) {
      const fields = line.trim().split(/\s+/);
      const [inner, file, label] = [fields[FOLDER], fields[FILE], fields[LABEL]];
      if (inner === undefined || file === undefined || !/^[01](\.0)?$/.test(label ?? ''))
        throw corrupt(`${path}:${at + 1}`, 'folder, file, number, and label 0 or 1', line.slice(0, 60));
      pictures.push({ path: join(folder, inner, file), label: Number(label) });
    }
  }
  if (pictures.length === 0) throw corrupt(metadata, 'lines of pictures', 'none');
  const builder = new RowsBuilder();
  const pixelsOf = async ({ path }: { readonly path: string }): Promise<Uint8Array | undefined> => {
    if (!existsSync(path)) throw missing(`${path} is not there`, data, 'Unpack the archive again');
    return (await stat(path)).size === 0 ? undefined : greyImage(path, side);
  };
  for await (const [{ label }, pixels] of mapInOrder(pictures, pixelsOf)) {
    if (pixels !== undefined) builder.add(label, pixels);
    onRow?.(builder.length, pictures.length);
  }
  return builder.build();
}
