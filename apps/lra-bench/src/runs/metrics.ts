import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isObject } from '@topk-attention/app-kit';
import type { JournalFormat } from '@topk-attention/app-kit/node';
import type { LogEntry } from '@topk-attention/nn';
import { corrupt } from '../data/errors.js';
import { runFiles } from './run-folder.js';

/** A line of `metrics.jsonl`. */
export type Metric = LogEntry & { readonly eval_accuracy?: number; readonly eval_loss?: number };

/**
 * Lines of a run's log. A run that is resumed makes the steps since its last checkpoint again: of two lines about one step,
 * the later counts.
 */
export const metricFormat: JournalFormat<Metric> = {
  isEntry: (value): value is Metric & typeof value => typeof value.step === 'number',
  expected: 'a line of JSON with a step',
  keyOf: (metric) => `${metric.step} ${isEvaluation(metric) ? 'evaluation' : 'training'}`,
};

export function isEvaluation(metric: Metric): boolean {
  return metric.eval_accuracy !== undefined;
}

/** The lines of a run, by step. The last line may be half written; the file is only read. */
export function readMetrics(folder: string): readonly Metric[] {
  const path = join(folder, runFiles.metrics);
  if (!existsSync(path)) return [];
  const text = readFileSync(path, 'utf8');
  const lines = text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .slice(1, -1);
  const found = new Map<string, Metric>();
  for (const [at, line] of lines.entries()) {
    const value = parsed(line);
    if (value === undefined || !metricFormat.isEntry(value))
      throw corrupt(`${path}:${at + 2}`, metricFormat.expected, line.slice(0, 60));
    found.set(metricFormat.keyOf(value), value);
  }
  return [...found.values()].sort((a, b) => a.step - b.step);
}

function parsed(line: string): { readonly [key: string]: unknown } | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
