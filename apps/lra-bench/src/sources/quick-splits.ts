import type { Splits } from '../data/splits.js';
import { quickListOps, quickRows } from '../presets/quick.js';
import { generateSplits } from './generate-splits.js';

const SEED = 1;

/** The short expressions of `quick`, always the same. @throws the signal's reason */
export async function quickSplits(signal: AbortSignal): Promise<Splits> {
  const rows = await generateSplits('listops', {
    ...{ seed: SEED, counts: quickRows, listOps: quickListOps, signal },
  });
  const notes = [`short expressions, generated with seed ${SEED}: not the task of the benchmark`];
  return { ...rows, notes };
}
