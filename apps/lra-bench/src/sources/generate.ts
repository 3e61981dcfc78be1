import { setImmediate } from 'node:timers/promises';
import { type Rows, RowsBuilder } from '../data/rows.js';
import { type SplitName, splitNames } from '../data/splits.js';
import { expressionOf, type ListOpsSettings, publishedListOps } from '../listops/generate.js';
import { drawScene } from '../pathfinder/draw.js';
import { sceneOf } from '../pathfinder/scene.js';
import { pathfinderSettings } from '../pathfinder/settings.js';

export type GeneratedTask = 'listops' | 'pathfinder' | 'path-x';

/** Rows of each split, as published. */
export const publishedCounts: {
  readonly [task in GeneratedTask]: { readonly [split in SplitName]: number };
} = {
  listops: { train: 96_000, validation: 2000, test: 2000 },
  pathfinder: { train: 160_000, validation: 20_000, test: 20_000 },
  'path-x': { train: 160_000, validation: 20_000, test: 20_000 },
};

export interface GenerateOptions {
  readonly seed: number;
  readonly count: number;
  /** Index of the first row. Default: 0. */
  readonly from?: number;
  /** Default: the published parameters. */
  readonly listOps?: ListOpsSettings;
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/** Number of a split in the streams of random numbers. */
export function streamOf(split: SplitName): number {
  return splitNames.indexOf(split);
}

/** Rows between two looks at the signal. */
const AT_ONCE = 64;

/**
 * Rows of a split. Each depends on the seed, the split and its index alone, so that fewer rows are the first of more.
 *
 * @throws the signal's reason
 */
export async function generateRows(
  task: GeneratedTask,
  split: SplitName,
  { seed, count, from = 0, listOps = publishedListOps, onProgress, signal }: GenerateOptions,
): Promise<Rows> {
  const builder = new RowsBuilder();
  const stream = streamOf(split);
  for (let row = from; row < from + count; row++) {
    if (task === 'listops') {
      const { ids, value } = expressionOf(listOps, seed, stream, row);
      builder.add(value, ids);
    } else {
      const settings = pathfinderSettings[task];
      const scene = sceneOf(settings, seed, stream, row);
      builder.add(scene.label, drawScene(scene, settings));
    }
    if (builder.length % AT_ONCE !== 0) continue;
    onProgress?.(builder.length, count);
    await setImmediate();
    signal?.throwIfAborted();
  }
  return builder.build();
}
