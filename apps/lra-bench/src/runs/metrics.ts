import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Journal, type JournalFormat } from '@topk-attention/app-kit/node';
import type { LogEntry } from '@topk-attention/nn';
import { runFiles } from './run-folder.js';

/** A line of `metrics.jsonl`. */
export type Metric = LogEntry & { readonly eval_accuracy?: number; readonly eval_loss?: number };

/**
 * Lines of a run's log. A run that is resumed makes the steps since its last checkpoint again: of two lines about one step,
 * the later counts.
 */
const metricFormat: JournalFormat<Metric> = {
  isEntry: (value): value is Metric & typeof value => typeof value.step === 'number',
  expected: 'a line of JSON with a step',
  keyOf: (metric) => `${metric.step} ${isEvaluation(metric) ? 'evaluation' : 'training'}`,
};

export function isEvaluation(metric: Metric): boolean {
  return metric.eval_accuracy !== undefined;
}

/**
 * The log of a run, for its lines to come; a new one, or that of earlier sessions.
 *
 * @param configuration a short name of the run's settings, which those of the earlier lines must have
 * @throws TopKError INVALID_OPTION, FILE_CORRUPT, FILE_NOT_FOUND
 */
export function openMetrics(folder: string, configuration: string): Journal<Metric> {
  const path = join(folder, runFiles.metrics);
  const header = { journal: 'topk-attention lra metrics', version: 1, configuration };
  return Journal.open(path, header, metricFormat, existsSync(path));
}

/** The lines of a run, by step. The last line may be half written; the file is only read. */
export function readMetrics(folder: string): readonly Metric[] {
  const path = join(folder, runFiles.metrics);
  if (!existsSync(path)) return [];
  return [...Journal.read(path, metricFormat)].sort((a, b) => a.step - b.step);
}
