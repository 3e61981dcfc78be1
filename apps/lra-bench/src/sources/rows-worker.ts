// What a thread runs that generates rows: `generate-in-threads.ts` sends pieces of a split.
import { parentPort } from 'node:worker_threads';
import type { SplitName } from '../data/splits.js';
import { type GeneratedTask, type GenerateOptions, generateRows } from './generate.js';

/** Rows that a thread makes at a time. */
export interface Piece extends Pick<GenerateOptions, 'seed' | 'listOps'> {
  readonly task: GeneratedTask;
  readonly split: SplitName;
  readonly from: number;
  readonly count: number;
}

/** What `Rows` holds. */
export interface MadePiece {
  readonly labels: Uint8Array;
  readonly starts: Float64Array;
  readonly symbols: Uint8Array;
}

parentPort?.on('message', async ({ task, split, ...options }: Piece) => {
  const { labels, starts, symbols } = await generateRows(task, split, options);
  parentPort?.postMessage({ labels, starts, symbols } satisfies MadePiece);
});
