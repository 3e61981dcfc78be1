import { join } from 'node:path';
import { formatCount, median } from '@topk-attention/app-kit';
import type { Backend } from '@topk-attention/core';
import {
  disposeParameters,
  loadStateDict,
  openFile,
  openSafetensors,
  type ParameterTree,
} from '@topk-attention/nn';
import { refusalOf } from '../bench/measure.js';
import { runFiles } from '../runs/run-folder.js';
import { batched } from './batch.js';
import { needleNetwork } from './model.js';
import { testRow } from './rows.js';
import { addRetrieval, type Retrieval, type RetrievedRow, readRetrievals } from './run-folder.js';
import { answersOf } from './score.js';
import type { NeedleConfiguration } from './settings.js';
import { keptTitle } from './tables.js';

export interface RetrieveOptions {
  readonly folder: string;
  readonly configuration: NeedleConfiguration;
  readonly backend: Backend;
  readonly engine: string;
  /** Most bytes on the device since `resetPeak`, for engines that count them. */
  readonly deviceBytes?: () => number;
  readonly kept: readonly Retrieval['k'][];
  readonly lengths: readonly number[];
  /** Rows of a length. */
  readonly rowsOf: (tokens: number) => number;
  /** A k stops after the length whose rows took longer, in milliseconds. */
  readonly mostMs: number;
  /** Keeps what was measured before with as many rows. */
  readonly resume: boolean;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number, label: string) => void;
}

/**
 * Asks a trained model for the needles of ever longer rows, with several numbers of kept keys, one row at a time. Each
 * length is added to the run's folder once it is done.
 *
 * @throws TopKError NAN_FOUND; FILE_NOT_WRITTEN; the signal's reason between rows; whatever the device throws but that a
 * length does not fit
 */
export async function retrieveNeedles(options: RetrieveOptions): Promise<readonly Retrieval[]> {
  const { folder, configuration, backend, kept, mostMs, rowsOf, resume } = options;
  const known = resume ? readRetrievals(folder) : [];
  const lengths = [...options.lengths].sort((a, b) => a - b);
  const found: Retrieval[] = [];
  const file = await openSafetensors(await openFile(join(folder, runFiles.best)));
  const parameters = await loadStateDict(backend, needleNetwork(configuration), file).finally(() =>
    file.close(),
  );
  try {
    for (const k of kept) {
      for (const tokens of lengths) {
        const rows = rowsOf(tokens);
        const before = known.find((one) => one.k === k && one.tokens === tokens && one.rows.length === rows);
        const one = before ?? (await retrieval(options, parameters, k, tokens, rows));
        found.push(one);
        if (before === undefined) addRetrieval(folder, one);
        if (one.rowMs === undefined || one.rowMs > mostMs) break;
      }
    }
  } finally {
    disposeParameters(parameters);
  }
  return found;
}

async function retrieval(
  { configuration, backend, engine, deviceBytes, signal, onProgress }: RetrieveOptions,
  parameters: ParameterTree,
  k: Retrieval['k'],
  tokens: number,
  count: number,
): Promise<Retrieval> {
  const { task, seed } = configuration;
  const mechanism = k === 'exact' ? ({ name: k } as const) : ({ name: 'top-k', k } as const);
  const model = needleNetwork({ ...configuration, mechanism });
  const rows: RetrievedRow[] = [];
  const times: number[] = [];
  const facts = { k, tokens, rows, engine, date: new Date().toISOString() };
  backend.resetPeak();
  try {
    for (let row = 0; row < count; row++) {
      signal?.throwIfAborted();
      const made = testRow(task, tokens, seed, row, count);
      const from = performance.now();
      const { right } = await answersOf(model, parameters, batched([made]));
      times.push(performance.now() - from);
      rows.push({ depth: made.depth, right: right[0] ?? 0 });
      onProgress?.(row + 1, count, `${keptTitle(k)}, ${formatCount(tokens)} tokens`);
    }
  } catch (error) {
    return { ...facts, refused: refusalOf(error) };
  }
  const peak = deviceBytes?.() ?? backend.memory().peak;
  return { ...facts, rowMs: median(times), ...(peak !== undefined && { peakBytes: peak }) };
}
