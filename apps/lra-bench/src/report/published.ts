import type { MechanismName } from '../model/settings.js';
import type { Configuration } from '../runs/configuration.js';
import type { TaskName } from '../tasks/task.js';

/** A number that others published. */
export interface Published {
  readonly source: string;
  readonly mechanism: MechanismName;
  readonly accuracy: { readonly [task in TaskName]?: number };
}

/**
 * Accuracies in per cent. Rows of the small configuration and of the original code never stand together: on Retrieval they
 * differ by 20 points, for reasons that have nothing to do with attention.
 */
const published: { readonly [preset in Configuration['preset']]: readonly Published[] } = {
  small: [
    {
      source: 'Nyströmformer code',
      mechanism: 'exact',
      accuracy: { listops: 37.1, text: 65.02, retrieval: 79.35, image: 38.2, pathfinder: 74.16 },
    },
    {
      source: 'Nyströmformer code',
      mechanism: 'performer-relu',
      accuracy: { listops: 18.8, text: 63.81, retrieval: 78.62, image: 37.07, pathfinder: 69.87 },
    },
    {
      source: 'Skyformer (50,000 steps)',
      mechanism: 'exact',
      accuracy: { listops: 38.37, text: 61.95, retrieval: 80.69, image: 40.57, pathfinder: 65.26 },
    },
    {
      source: 'Skyformer (50,000 steps)',
      mechanism: 'performer',
      accuracy: { listops: 38.02, text: 64.19, retrieval: 80.04, image: 41.43, pathfinder: 66.3 },
    },
  ],
  'small-clean': [],
  quick: [],
  original: [
    {
      source: 'LRA leaderboard',
      mechanism: 'exact',
      accuracy: { listops: 36.37, text: 64.27, retrieval: 57.46, image: 42.44, pathfinder: 71.4 },
    },
    {
      // Its features are the ReLU of queries and keys, without random projections.
      source: 'LRA leaderboard',
      mechanism: 'performer-relu',
      accuracy: { listops: 18.01, text: 65.4, retrieval: 53.82, image: 42.77, pathfinder: 77.05 },
    },
    {
      source: 'top-k paper, k 128',
      mechanism: 'top-k',
      accuracy: { listops: 36.56, text: 63.72, retrieval: 59.14 },
    },
    {
      source: 'top-k paper',
      mechanism: 'exact',
      accuracy: { listops: 39.06, text: 63.66, retrieval: 57.93 },
    },
  ],
};

/** What others published about a task, for runs of a preset. */
export function publishedFor(preset: Configuration['preset'], task: TaskName): readonly Published[] {
  return published[preset].filter(({ accuracy }) => accuracy[task] !== undefined);
}
