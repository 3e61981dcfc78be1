import { join } from 'node:path';
import type { BackendOptions, Io, ProgressBar } from '@topk-attention/app-kit/node';
import type { Splits } from '../data/splits.js';
import type { Host } from '../host.js';
import type { LastingEngine } from '../lasting-engine.js';
import { mechanismTitle } from '../model/mechanism.js';
import type { Preset } from '../presets/presets.js';
import { type Configuration, runName } from '../runs/configuration.js';
import type { RunResult } from '../runs/run-folder.js';
import type { RunOptions } from '../runs/run-options.js';
import { configurationOf, type PlannedRun } from '../sweep/configure.js';
import type { TaskName } from '../tasks/task.js';
import { trainRun } from '../training/train-run.js';
import { makeRuns } from './make-runs.js';

/** A finished run. */
export interface Finished {
  readonly folder: string;
  readonly configuration: Configuration;
  readonly result: RunResult;
}

export type NamedPreset = { readonly name: Configuration['preset'] } & Preset;

/** Where settings and rows of a task come from. Rows are asked for once for each task. */
export interface TaskSources {
  readonly presetOf: (task: TaskName) => NamedPreset;
  readonly rowsOf: (task: TaskName, preset: NamedPreset, bar: ProgressBar) => Promise<Splits>;
}

export type TrainRunsOptions = BackendOptions & {
  readonly out: string;
  readonly resume?: true;
  readonly saveEvery: number;
  readonly microBatch?: number;
  readonly trim?: true;
  readonly feedForwardK?: number;
  readonly precision?: 'f32' | 'mixed';
};

/**
 * Trains planned runs one after the other, each in a folder of its own under `out`.
 *
 * @param onFailure makes a failure of one run a reason to leave it out, or throws. Default: throws
 * @throws TopKError as `trainRun` and `configurationOf`
 */
export async function trainRuns(
  runs: readonly PlannedRun[],
  { presetOf, rowsOf }: TaskSources,
  options: TrainRunsOptions,
  io: Io,
  host: Host,
  onFailure?: (run: PlannedRun, error: unknown) => void,
): Promise<readonly Finished[]> {
  const { microBatch, trim, feedForwardK, precision, out } = options;
  const read = new Map<TaskName, Splits>();
  const make = async (
    run: PlannedRun,
    common: RunOptions,
    bar: ProgressBar,
    engine: LastingEngine,
  ): Promise<Finished | undefined> => {
    const preset = presetOf(run.task);
    const splits = read.get(run.task) ?? (await rowsOf(run.task, preset, bar));
    read.set(run.task, splits);
    const configuration = configurationOf(run, preset, splits, {
      ...(microBatch !== undefined && { microBatch }),
      ...(trim && { trim }),
      ...(feedForwardK !== undefined && { feedForwardK }),
      ...(precision !== undefined && { precision }),
    });
    const folder = join(out, runName(configuration));
    try {
      return { folder, configuration, result: await trainRun({ ...common, folder, configuration, splits }) };
    } catch (error) {
      if (onFailure === undefined) throw error;
      onFailure(run, error);
      await engine.failed(error);
      return undefined;
    }
  };
  const titleOf = ({ task, mechanism, seed }: PlannedRun): string =>
    `${task}, ${mechanismTitle(mechanism)}, seed ${seed}`;
  return (await makeRuns(runs, titleOf, make, options, io, host)).flatMap((made) => made ?? []);
}
