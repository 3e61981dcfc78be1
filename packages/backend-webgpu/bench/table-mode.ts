import { createWebGpuBackend, type WebGpuBackend } from '@topk-attention/webgpu';
import { describePath } from './attention-bench.js';
import { AttentionCase, type AttentionShape, type Checked } from './attention-case.js';
import { extraBytes, type Timing, time } from './clock.js';
import { type Comparison, compareWithStored } from './compare-lists.js';
import { readElements } from './data.js';
import { DAWN_OPTIONS, type Mode } from './dawn-options.js';
import { FeedForwardCase } from './feed-forward-case.js';
import type { TableSizes } from './table-rows.js';

export interface Cell {
  readonly value: number;
  readonly timing?: Timing;
  readonly checked?: Checked;
  /** The path that ran. */
  readonly path?: string;
}

export interface ModeResult {
  readonly mode: Mode;
  readonly adapter: string;
  readonly isSoftware: boolean;
  readonly cells: Readonly<Record<string, Cell>>;
  readonly failures: Readonly<Record<string, string>>;
  /** Index sets against stored scores. */
  readonly comparisons: readonly Comparison[];
}

/**
 * 'rows': all lengths except the longest, which has its own phase, so that nothing else waits for it or dies with it.
 */
export type Phase = 'rows' | 'longest';

export interface ModeOptions {
  readonly phase: Phase;
  readonly sizes: TableSizes;
  readonly rounds: number;
  readonly heatMs: number;
  readonly only?: ReadonlySet<string>;
  readonly log: (text: string) => void;
  /** Called after every row with what is known so far. */
  readonly onProgress: (result: ModeResult) => void;
}

/** Highest relative error against f64 of a result that may be timed. */
const TOLERANCE = { f32: 1e-5, f16: 2e-3 } as const;

const MIB = 2 ** 20;

/** Measures every row of the table on one kind of device. A row that fails is listed with its reason, not left out. */
export async function measureMode(mode: Mode, options: ModeOptions): Promise<ModeResult> {
  const { sizes, rounds, heatMs, log } = options;
  const make = (more: object = {}): Promise<WebGpuBackend> =>
    createWebGpuBackend({ dawnOptions: DAWN_OPTIONS[mode], onWarning: () => {}, ...more });
  let backend = await make();
  const { facts } = backend;
  const cells: Record<string, Cell> = {};
  const failures: Record<string, string> = {};
  const comparisons: Comparison[] = [];
  const extras: Record<'extra' | 'extra-training', number[]> = { extra: [], 'extra-training': [] };
  const shape = (change: Partial<AttentionShape>): AttentionShape => ({
    heads: sizes.heads,
    length: sizes.short,
    dim: sizes.dim,
    k: sizes.k,
    causal: true,
    dtype: 'f32',
    isClustered: false,
    ...change,
  });
  const soFar = (): ModeResult => {
    const known = { ...cells };
    for (const id of ['extra', 'extra-training'] as const) {
      if (extras[id].length > 0) known[id] = { value: Math.max(...extras[id]) };
    }
    const adapter = `${facts.vendor} ${facts.description}`;
    return { mode, adapter, isSoftware: facts.isSoftware, cells: known, failures, comparisons };
  };
  const row = async (id: string, body: () => Promise<Cell | undefined>): Promise<void> => {
    if (options.only !== undefined && !options.only.has(id)) return;
    const from = performance.now();
    try {
      const cell = await body();
      if (cell === undefined) return;
      cells[id] = cell;
      const kernels = Object.entries(cell.timing?.kernels ?? {})
        .sort(([, a], [, b]) => b - a)
        .slice(0, 8)
        .map(([name, ms]) => `${name} ${ms.toFixed(2)}`);
      const checked = cell.checked;
      log(
        `${mode} ${id}: ${cell.value.toFixed(2)} (${cell.timing?.fastest.toFixed(2)} to ${cell.timing?.slowest.toFixed(2)}), ` +
          `error ${checked?.error.toExponential(1)} of ${checked?.rows} rows, wrong sets ${checked?.wrongSets}; ` +
          `${cell.path ?? ''} | ${kernels.join(', ')} | ${((performance.now() - from) / 1000).toFixed(1)} s`,
      );
    } catch (error) {
      failures[id] = error instanceof Error ? error.message : String(error);
      log(`${mode} ${id}: FAILED ${failures[id].slice(0, 600)}`);
      if (backend.stream.failure !== undefined) {
        await backend.dispose();
        backend = await make();
      }
    } finally {
      options.onProgress(soFar());
    }
  };
  const attention = (
    id: string,
    change: Partial<AttentionShape>,
    { training = false, on = undefined as WebGpuBackend | undefined, repeats = rounds } = {},
  ): Promise<void> =>
    row(id, async () => {
      const wanted = shape(change);
      const one = await AttentionCase.make(on ?? backend, wanted);
      try {
        const run = training ? () => one.training() : () => one.forward();
        const { dtype, k } = wanted;
        const checked = training ? await checkedGradients(one) : await one.check();
        requireRight(checked, TOLERANCE[dtype]);
        if (k !== undefined && on === undefined) {
          // Outputs, and for training the gradients and lists, are what the caller requested.
          const outputs = training ? 4 * one.outputBytes + one.listBytes : one.outputBytes;
          const bytes = await extraBytes(one.backend, run, outputs);
          extras[training ? 'extra-training' : 'extra'].push(bytes / MIB);
          log(`${mode} ${id}: extra ${(bytes / MIB).toFixed(1)} MiB`);
        }
        const timing = await time(one.backend, run, { rounds: repeats, heatMs });
        return {
          value: timing.ms,
          timing,
          checked,
          path: on === undefined ? describePath(backend, wanted, training) : 'composed',
        };
      } finally {
        one.dispose();
        await one.backend.stream.finish().catch(() => {});
      }
    });

  if (options.phase === 'longest') {
    await row('forward-longest', () => longest(backend, shape({ length: sizes.longest }), extras.extra));
    await backend.dispose();
    return soFar();
  }
  await attention('forward-short', {});
  await attention('training-short', {}, { training: true });
  await attention('clustered-short', { isClustered: true });
  await attention('f16-short', { dtype: 'f16' });
  await row('feed-forward', async () => {
    const one = await FeedForwardCase.make(backend, sizes.feedForward);
    try {
      const checked = await one.check();
      requireRight(checked, TOLERANCE.f32);
      const bytes = await extraBytes(backend, () => one.forward(), one.outputBytes);
      log(`${mode} feed-forward: extra ${(bytes / MIB).toFixed(1)} MiB`);
      const timing = await time(backend, () => one.forward(), { rounds, heatMs });
      return { value: timing.ms, timing, checked };
    } finally {
      one.dispose();
    }
  });
  await attention('forward-long', { length: sizes.long });
  await attention('training-long', { length: sizes.long }, { training: true });
  for (const length of sizes.compared) {
    await row('index-sets', async () => {
      const one = await AttentionCase.make(backend, shape({ length }));
      const made = one.lists();
      const lists = (await readElements(backend, made, 0, made.size)) as Int32Array;
      made.dispose();
      one.dispose();
      const compared = await compareWithStored(sizes, length, lists);
      comparisons.push(compared);
      const { rows, different, wrong } = compared;
      log(
        `${mode} index sets at ${length}: ${different} of ${rows} rows differ from stored scores, ${wrong} wrongly`,
      );
      return undefined;
    });
  }
  if (mode === 'plain') {
    await attention('exact-short', { k: undefined });
    await attention('exact-training-short', { k: undefined }, { training: true });
    await attention('exact-long', { length: sizes.long, k: undefined });
    const composed = await make({ fused: false });
    await attention('composed-short', {}, { on: composed, repeats: Math.min(rounds, 5) });
    await composed.dispose();
  }
  await backend.dispose();
  return soFar();
}

/** Longest call whose gradients over all keys are compared with f64: longer ones would take minutes on the host. */
const LONGEST_CHECKED = 2048;

/** Gradients of the case, or of a shorter one like it if all keys are kept. */
async function checkedGradients(one: AttentionCase): Promise<Checked> {
  const { backend, shape } = one;
  if (shape.k !== undefined || shape.length <= LONGEST_CHECKED) return one.checkGradients();
  const shorter = await AttentionCase.make(backend, { ...shape, length: LONGEST_CHECKED });
  try {
    return await shorter.checkGradients();
  } finally {
    shorter.dispose();
  }
}

/** One call, timed as a whole, then a few of its rows checked. */
async function longest(backend: WebGpuBackend, shape: AttentionShape, extras: number[]): Promise<Cell> {
  const one = await AttentionCase.make(backend, shape);
  try {
    const { pool } = backend.stream;
    pool.resetPeak();
    const before = pool.peakUsedBytes;
    const from = performance.now();
    const output = one.attend();
    await backend.stream.finish();
    const ms = performance.now() - from;
    extras.push((pool.peakUsedBytes - before - one.outputBytes) / MIB);
    // One head, few rows: its keys are large.
    const checked = await one.check({ heads: [shape.heads - 1], rowsOfHead: 4, sets: false, output });
    requireRight(checked, TOLERANCE.f32);
    return { value: ms, checked, path: describePath(backend, shape, false) };
  } finally {
    one.dispose();
    backend.stream.pool.trim();
  }
}

function requireRight(checked: Checked, tolerance: number): void {
  if (checked.error <= tolerance && (checked.wrongSets ?? 0) === 0) return;
  throw new Error(
    `wrong result: error ${checked.error.toExponential(2)} (at most ${tolerance}), ${checked.wrongSets ?? 0} wrong sets of ${checked.rows} rows`,
  );
}
