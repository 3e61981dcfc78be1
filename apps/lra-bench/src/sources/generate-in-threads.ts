import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { Rows } from '../data/rows.js';
import type { SplitName } from '../data/splits.js';
import { type GeneratedTask, type GenerateOptions, generateRows } from './generate.js';
import type { MadePiece, Piece } from './rows-worker.js';

/** Rows per piece of work. A thread starts in the time of a few hundred rows. */
const PIECE = 500;

export interface ThreadOptions extends GenerateOptions {
  /** Default: one per core. */
  readonly threads?: number;
  /** What a thread runs. Default: `rows-worker.js` beside this file, or where there is none, as from sources, this thread alone. */
  readonly worker?: URL;
}

/**
 * The rows that `generateRows` makes, made by several threads: a picture of Pathfinder takes some 13 ms, and 200,000 of them
 * are published.
 *
 * @throws the signal's reason
 */
export async function generateInThreads(
  task: GeneratedTask,
  split: SplitName,
  {
    threads = availableParallelism(),
    worker = new URL('./rows-worker.js', import.meta.url),
    ...options
  }: ThreadOptions,
): Promise<Rows> {
  const { seed, count, from = 0, listOps, onProgress, signal } = options;
  const pieces = Math.ceil(count / PIECE);
  const used = Math.min(threads, pieces);
  if (used < 2 || !existsSync(fileURLToPath(worker))) return generateRows(task, split, options);
  const made: MadePiece[] = new Array(pieces);
  let next = 0;
  let done = 0;
  const work = async (): Promise<void> => {
    const thread = new Worker(worker);
    try {
      while (next < pieces) {
        const at = next++;
        const size = Math.min(PIECE, count - at * PIECE);
        const piece: Piece = {
          ...{ task, split, seed, from: from + at * PIECE, count: size },
          ...(listOps !== undefined && { listOps }),
        };
        thread.postMessage(piece);
        // Rejects with the thread's error, or the signal's.
        const [rows] = await once(thread, 'message', { ...(signal !== undefined && { signal }) });
        made[at] = rows as MadePiece;
        done += size;
        onProgress?.(done, count);
      }
    } finally {
      await thread.terminate();
    }
  };
  signal?.throwIfAborted();
  try {
    await Promise.all(Array.from({ length: used }, work));
  } catch (error) {
    // The other threads stop at their next piece.
    next = pieces;
    signal?.throwIfAborted();
    throw error;
  }
  return joined(made);
}

function joined(pieces: readonly MadePiece[]): Rows {
  const total = (sizeOf: (piece: MadePiece) => number): number =>
    pieces.reduce((sum, piece) => sum + sizeOf(piece), 0);
  const rows = total(({ labels }) => labels.length);
  const labels = new Uint8Array(rows);
  const starts = new Float64Array(rows + 1);
  const symbols = new Uint8Array(total((piece) => piece.symbols.length));
  let row = 0;
  let symbol = 0;
  for (const piece of pieces) {
    labels.set(piece.labels, row);
    symbols.set(piece.symbols, symbol);
    for (const [at, start] of piece.starts.entries()) starts[row + at] = symbol + start;
    row += piece.labels.length;
    symbol += piece.symbols.length;
  }
  return new Rows(labels, starts, symbols, 1);
}
