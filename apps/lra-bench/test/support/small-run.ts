import { join } from 'node:path';
import { lra } from './command-line.js';

/** Options of a run so small that a test can wait for it. */
export const tiny: readonly string[] = [
  ...['--preset', 'small-clean', '--tokens', '24', '--batch', '4', '--steps', '12', '--eval-every', '4'],
  ...['--save-every', '4', '--learning-rate', '0.01', '--backend', 'reference'],
];

/** ListOps in a folder: few rows. */
export async function fewRows(folder: string, rows = 40): Promise<string> {
  const out = join(folder, 'listops');
  const counts = ['--train', String(rows), '--validation', '10', '--test', '10'];
  const { code, stderr } = await lra(['generate', 'listops', '--out', out, ...counts]);
  if (code !== 0) throw new Error(stderr);
  return out;
}
