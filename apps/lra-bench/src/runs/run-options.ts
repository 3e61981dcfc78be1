import type { Backend } from '@topk-attention/core';
import type { Metric } from './metrics.js';
import type { Session } from './run-folder.js';

/** What a run needs beside its folder and its settings. */
export interface RunOptions {
  readonly backend: Backend;
  /** Most bytes on the device so far, for engines that count them. */
  readonly deviceBytes?: () => number;
  readonly session: Omit<Session, 'from'>;
  /** Go on with a run that was begun. If false, a folder with a run is an error. */
  readonly resume: boolean;
  /** Steps between checkpoints. */
  readonly saveEvery: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number, stage: 'training' | 'testing') => void;
  readonly onMetric?: (metric: Metric) => void;
}
