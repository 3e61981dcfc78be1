import { formatCount, formatDuration, formatMebibytes, type Table } from '@topk-attention/app-kit';
import { mechanismTitle } from '../model/mechanism.js';
import { tasks } from '../tasks/task.js';
import type { Section } from './collect.js';
import { publishedFor } from './published.js';
import { type Group, groupsOf, variantTitle } from './summary.js';

/** Accuracies of a section: ours, then published ones, then the majority class. */
export function accuracyTable(section: Section): Table {
  const { task, preset, data } = factsOf(section);
  const groups = groupsOf(section);
  const ours = groups.map((group) => [
    group.title,
    accuracyText(group),
    group.minusExact === undefined ? '' : signed(group.minusExact),
    `${group.accuracies.length} of ${group.runs.length}`,
    group.stepMs === undefined ? '' : formatDuration(group.stepMs),
    group.peakBytes === undefined ? '' : formatMebibytes(group.peakBytes),
  ]);
  const others = publishedFor(preset, task).map(({ source, mechanism, accuracy }) => [
    `${mechanismTitle({ name: mechanism })} (${source})`,
    (accuracy[task] as number).toFixed(2),
  ]);
  return {
    columns: [
      { title: 'mechanism', isHeading: true },
      { title: 'test accuracy %', align: 'right' },
      { title: 'minus exact, by seed', align: 'right' },
      { title: 'seeds finished', align: 'right' },
      { title: 'time per step', align: 'right' },
      { title: 'peak MiB', align: 'right' },
    ],
    rows: [
      ...ours,
      ...others.map((row) => [...row, '', '', '', '']),
      ['majority class', data.majority.toFixed(2), '', '', '', ''],
    ],
  };
}

/** `37.10 ± 0.42`, the deviation of the seeds. */
export function accuracyText({ mean, deviation }: Group): string {
  if (mean === undefined) return 'not finished';
  return deviation === undefined ? mean.toFixed(2) : `${mean.toFixed(2)} ± ${deviation.toFixed(2)}`;
}

/** Accuracy against k of the trained models. Undefined if none was evaluated. */
export function keptKeysTable(section: Section): Table | undefined {
  const runs = section.runs.filter(({ evaluations }) => evaluations.length > 0);
  if (runs.length === 0) return undefined;
  const ks = [...new Set(runs.flatMap(({ evaluations }) => evaluations.map(({ k }) => k)))].sort((a, b) =>
    a === 'exact' ? 1 : b === 'exact' ? -1 : a - b,
  );
  return {
    columns: [
      { title: 'trained with', isHeading: true },
      { title: 'seed', align: 'right' },
      ...ks.map((k) => ({ title: k === 'exact' ? 'exact' : `k ${k}`, align: 'right' as const })),
    ],
    rows: runs.map(({ configuration, evaluations }) => [
      variantTitle(configuration),
      String(configuration.seed),
      ...ks.map((k) => evaluations.find((one) => one.k === k)?.accuracy.toFixed(2) ?? ''),
    ]),
  };
}

/** What a section's runs have in common, in words. */
export function sectionFacts(section: Section): readonly string[] {
  const { model, training, data, preset, microBatch } = factsOf(section);
  const { rows, hash, notes } = data;
  const engines = [...new Set(section.runs.flatMap(({ sessions }) => sessions.map(({ engine }) => engine)))];
  const dates = section.runs.flatMap(({ sessions }) => sessions.map(({ date }) => date.slice(0, 10))).sort();
  return [
    `Preset ${preset}: ${model.layers} layers of width ${model.width}, ${model.heads} heads; ${formatCount(training.steps)} steps of ${training.batch} examples${microBatch === training.batch ? '' : `, ${microBatch} at a time`}; warm-up ${formatCount(training.warmup)}; rate ${training.learningRate}, ${training.schedule}.`,
    `Switches: pooling ${model.pooling}, momentum ${training.momentum}, zero pixel ${model.zeroPixel}, evaluation ${training.evaluation.kind}, last batch ${training.lastBatch}, validation ${training.validation}; ${formatCount(model.tokens)} tokens.`,
    `Data ${hash}: ${formatCount(rows.train)} rows to train on, ${formatCount(rows.validation)} to validate, ${formatCount(rows.test)} to test${notes.map((note) => `; ${note}`).join('')}.`,
    `Engine: ${engines.join('; ') || 'unknown'}. ${[...new Set([dates[0], dates.at(-1)])].join(' to ')}.`,
    ...(section.runs.some(({ result }) => result?.peakOf === 'process')
      ? [
          'Peak MiB: on this engine the most that the process has taken since it began, runs before the named one included.',
        ]
      : []),
  ];
}

export function sectionTitle(section: Section): string {
  const { task } = factsOf(section);
  return `${tasks[task].title}: ${tasks[task].about}`;
}

/** The configuration of any run of a section: they agree in what is asked here. */
export function factsOf({ runs }: Section): (typeof runs)[number]['configuration'] {
  const [first] = runs;
  if (first === undefined) throw new Error('a section without runs');
  return first.configuration;
}

function signed(value: number): string {
  return `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(2)}`;
}
