import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { TopKError } from '@topk-attention/core';
import { missing } from '../data/errors.js';
import { type Evaluation, readEvaluations } from '../evaluation/evaluations.js';
import {
  type NeedleResult,
  needleFiles,
  type Retrieval,
  readNeedleResult,
  readRetrievals,
  requireNeedleConfiguration,
} from '../needles/run-folder.js';
import type { NeedleConfiguration } from '../needles/settings.js';
import { type Configuration, comparedHash, comparedPart, difference } from '../runs/configuration.js';
import { type Metric, readMetrics } from '../runs/metrics.js';
import {
  type RunResult,
  readResult,
  readSessions,
  requireConfiguration,
  runFiles,
  type Session,
} from '../runs/run-folder.js';
import { taskNames } from '../tasks/task.js';

/** A run as a report needs it. */
export interface ReportedRun {
  readonly folder: string;
  readonly configuration: Configuration;
  readonly sessions: readonly Session[];
  readonly metrics: readonly Metric[];
  readonly evaluations: readonly Evaluation[];
  /** Absent: not finished. */
  readonly result?: RunResult;
}

/** The same of a run that finds needles. */
export interface NeedleRun {
  readonly configuration: NeedleConfiguration;
  readonly sessions: readonly Session[];
  readonly retrievals: readonly Retrieval[];
  /** Absent: not finished. */
  readonly result?: NeedleResult;
}

/** Runs that may stand side by side: of one task, model, training and data. */
export interface Section {
  readonly id: string;
  readonly runs: readonly ReportedRun[];
}

/** Deepest folder below a named one that is looked at. */
const DEPTH = 3;

/**
 * The runs in folders and below them, from wherever they were made: those of tasks, and those that find needles.
 *
 * @throws TopKError FILE_NOT_FOUND, FILE_CORRUPT, UNSUPPORTED for runs of another version; INVALID_OPTION for one run twice
 */
export function collectRuns(folders: readonly string[]): {
  readonly runs: readonly ReportedRun[];
  readonly needles: readonly NeedleRun[];
} {
  const found = folders.flatMap((folder) => {
    if (!existsSync(folder))
      throw missing(`${folder} is not there`, 'run folders', 'Name folders that train wrote to');
    if (!statSync(folder).isDirectory()) throw notAFolder(folder);
    return runFolders(folder, DEPTH);
  });
  const all = [...new Set(found)];
  if (all.length === 0)
    throw missing(
      `no run in ${folders.join(', ')}`,
      `folders with ${runFiles.config} or ${needleFiles.config}`,
      'Train first: pnpm lra train',
    );
  const isNeedles = (folder: string): boolean => existsSync(join(folder, needleFiles.config));
  return {
    runs: distinct(all.filter((folder) => !isNeedles(folder)).map(readRun)),
    needles: all.filter(isNeedles).map(readNeedleRun),
  };
}

function notAFolder(path: string): TopKError {
  return new TopKError('FILE_NOT_FOUND', `${path} is no folder`, {
    expected: 'run folders',
    got: 'a file',
    fix: 'Name folders that train wrote to; files that bench or compare wrote go with --bench',
  });
}

/** @throws TopKError INVALID_OPTION for one run twice */
function distinct(runs: readonly ReportedRun[]): readonly ReportedRun[] {
  const seen = new Map<string, string>();
  for (const { folder, configuration } of runs) {
    const { mechanism, feedForwardK, precision, trimmed, seed } = configuration;
    const key = JSON.stringify([
      comparedHash(configuration),
      ...[mechanism, feedForwardK, precision, trimmed, seed],
    ]);
    const other = seen.get(key);
    if (other !== undefined) {
      throw new TopKError('INVALID_OPTION', 'one run is there twice', {
        expected: 'each mechanism and seed of a configuration once',
        got: `${other} and ${folder}`,
        fix: 'Name only one of the folders',
      });
    }
    seen.set(key, folder);
  }
  return runs;
}

function runFolders(folder: string, depth: number): readonly string[] {
  if ([runFiles, needleFiles].some(({ config }) => existsSync(join(folder, config)))) return [folder];
  if (depth === 0) return [];
  return readdirSync(folder)
    .sort()
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isDirectory())
    .flatMap((path) => runFolders(path, depth - 1));
}

function readRun(folder: string): ReportedRun {
  const result = readResult(folder);
  return {
    folder,
    configuration: requireConfiguration(folder),
    sessions: readSessions(folder),
    metrics: readMetrics(folder),
    evaluations: readEvaluations(folder),
    ...(result && { result }),
  };
}

function readNeedleRun(folder: string): NeedleRun {
  const result = readNeedleResult(folder);
  return {
    configuration: requireNeedleConfiguration(folder),
    sessions: readSessions(folder),
    retrievals: readRetrievals(folder),
    ...(result && { result }),
  };
}

/**
 * Sections in the order of the tasks.
 *
 * @param separate whether a task may have several sections; if not, runs that differ in more than mechanism and seed are an
 * error, so that no table mixes them
 * @throws TopKError INVALID_OPTION with the first difference
 */
export function sectionsOf(runs: readonly ReportedRun[], separate: boolean): readonly Section[] {
  const sections = new Map<string, ReportedRun[]>();
  for (const task of taskNames) {
    const own = runs.filter(({ configuration }) => configuration.task === task);
    for (const run of own) {
      const [first] = own as [ReportedRun];
      const id = `${task}-${comparedHash(run.configuration)}`;
      const found = difference(comparedPart(first.configuration), comparedPart(run.configuration));
      if (found !== undefined && !separate) {
        throw new TopKError(
          'INVALID_OPTION',
          `runs of ${task} with different configurations do not fit into one table`,
          {
            expected: 'a difference in mechanism and seed alone',
            got: `${found}, in ${first.folder} and ${run.folder}`,
            fix: 'Name the folders of one configuration, or add --separate for a table each',
          },
        );
      }
      sections.set(id, [...(sections.get(id) ?? []), run]);
    }
  }
  return [...sections].map(([id, members]) => ({ id, runs: members }));
}
