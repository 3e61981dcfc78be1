import type { LineChart, Series } from '@topk-attention/app-kit';
import { isEvaluation } from '../runs/metrics.js';
import type { ReportedRun, Section } from './collect.js';
import { variantTitle } from './summary.js';
import { factsOf } from './tables.js';

/** Accuracies of the runs of a section on the validation rows. */
export function learningChart(section: Section): LineChart {
  const { data } = factsOf(section);
  return {
    title: 'Accuracy on the validation rows by step',
    x: { title: 'steps' },
    y: { title: 'validation accuracy %' },
    series: section.runs.map(
      (run, at): Series => ({
        name: runTitle(run),
        className: run.configuration.mechanism.name,
        isDashed: section.runs.slice(0, at).some((other) => sameMechanism(other, run)),
        points: run.metrics
          .filter(isEvaluation)
          .map(({ step, eval_accuracy: accuracy = 0 }) => ({ x: step, y: accuracy })),
      }),
    ),
    levels: [{ name: 'majority class', y: data.majority }],
  };
}

export function runTitle({ configuration }: ReportedRun): string {
  return `${variantTitle(configuration)}, seed ${configuration.seed}`;
}

export function sameMechanism(a: ReportedRun, b: ReportedRun): boolean {
  return a.configuration.mechanism.name === b.configuration.mechanism.name;
}
