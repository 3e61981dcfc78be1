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
import type { Engine } from '../host.js';
import type { LastingEngine } from '../lasting-engine.js';
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
  readonly engine: LastingEngine;
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
  const { folder, configuration, engine, kept, mostMs, rowsOf, resume } = options;
  const known = resume ? readRetrievals(folder) : [];
  const lengths = [...options.lengths].sort((a, b) => a - b);
  const found: Retrieval[] = [];
  let parameters: ParameterTree | undefined;
  const asked = async (k: Retrieval['k'], tokens: number, count: number): Promise<Retrieval> => {
    const current = await engine.current();
    parameters ??= await load(current.backend, folder, configuration);
    const date = new Date().toISOString();
    const facts = { k, tokens, rows: [] as RetrievedRow[], engine: current.info.description, date };
    try {
      return { ...facts, ...(await retrieval(options, current, parameters, facts, count)) };
    } catch (error) {
      const refused = refusalOf(error);
      // Loaded again for what comes next, perhaps on another engine.
      disposeParameters(parameters);
      parameters = undefined;
      await engine.failed(error);
      return { ...facts, refused };
    }
  };
  try {
    for (const k of kept) {
      for (const tokens of lengths) {
        const rows = rowsOf(tokens);
        const before = known.find((one) => one.k === k && one.tokens === tokens && one.rows.length === rows);
        const one = before ?? (await asked(k, tokens, rows));
        found.push(one);
        if (before === undefined) addRetrieval(folder, one);
        if (one.rowMs === undefined || one.rowMs > mostMs) break;
      }
    }
  } finally {
    if (parameters !== undefined) disposeParameters(parameters);
  }
  return found;
}

async function load(
  backend: Backend,
  folder: string,
  configuration: NeedleConfiguration,
): Promise<ParameterTree> {
  const file = await openSafetensors(await openFile(join(folder, runFiles.best)));
  return loadStateDict(backend, needleNetwork(configuration), file).finally(() => file.close());
}

/** Time and memory of the answers to `count` rows, which are added to `rows`. */
async function retrieval(
  { configuration, signal, onProgress }: RetrieveOptions,
  { backend, gpuBytes }: Engine,
  parameters: ParameterTree,
  { k, tokens, rows }: { readonly k: Retrieval['k']; readonly tokens: number; readonly rows: RetrievedRow[] },
  count: number,
): Promise<Pick<Retrieval, 'rowMs' | 'peakBytes'>> {
  const { task, seed } = configuration;
  const mechanism = k === 'exact' ? ({ name: k } as const) : ({ name: 'top-k', k } as const);
  const model = needleNetwork({ ...configuration, mechanism });
  const times: number[] = [];
  backend.resetPeak();
  for (let row = 0; row < count; row++) {
    signal?.throwIfAborted();
    const made = testRow(task, tokens, seed, row, count);
    const from = performance.now();
    const { right } = await answersOf(model, parameters, batched([made]));
    times.push(performance.now() - from);
    rows.push({ depth: made.depth, right: right[0] ?? 0 });
    onProgress?.(row + 1, count, `${keptTitle(k)}, ${formatCount(tokens)} tokens`);
  }
  const peak = gpuBytes?.() ?? backend.memory().peak;
  return { rowMs: median(times), ...(peak !== undefined && { peakBytes: peak }) };
}
