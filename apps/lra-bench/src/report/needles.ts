import {
  escapeHtml,
  formatCount,
  formatDuration,
  htmlTable,
  type LineChart,
  lineChart,
  markdownTable,
  type Series,
} from '@topk-attention/app-kit';
import { mechanismTitle } from '../model/mechanism.js';
import { accuracyOf, type Retrieval } from '../needles/run-folder.js';
import { keptOf, keptTitle, retrievalTable } from '../needles/tables.js';
import type { NeedleRun } from './collect.js';
import { heatMap } from './heat-map.js';

/** Equal parts of a row that a needle may lie in, in a heat map. */
const DEPTHS = 10;

const TITLE = 'Needles in noise';
const about =
  'A key and its value of several tokens stand somewhere in noise; the question stands at the end. All tokens of the value have to be right. The models saw no row longer than those of their training; one row at a time goes through them, and needles lie at evenly spread depths.';

/** The needle runs of a report, as parts of its page. */
export function needlesHtml(runs: readonly NeedleRun[]): readonly string[] {
  if (runs.length === 0) return [];
  return [
    `<h2 id="needles">${TITLE}</h2>`,
    `<p class="note">${escapeHtml(about)}</p>`,
    ...runs.flatMap((run, at) => {
      const { retrievals, configuration } = run;
      const measured = retrievals.filter(({ rowMs }) => rowMs !== undefined);
      return [
        `<h3 id="needles-${at}">${escapeHtml(runTitle(run))}</h3>`,
        ...(measured.length === 0 ? [] : chartsOf(run, measured).map((chart) => `<figure>${chart}</figure>`)),
        ...(retrievals.length === 0
          ? []
          : [htmlTable(retrievalTable(retrievals, configuration), `needles-${at}`)]),
        ...factsOf(run).map((text) => `<p class="note">${escapeHtml(text)}</p>`),
      ];
    }),
  ];
}

/** The same in Markdown. */
export function needlesMarkdown(runs: readonly NeedleRun[]): readonly string[] {
  if (runs.length === 0) return [];
  return [
    `## ${TITLE}`,
    about,
    ...runs.flatMap((run) => [
      `### ${runTitle(run)}`,
      ...(run.retrievals.length === 0
        ? []
        : [markdownTable(retrievalTable(run.retrievals, run.configuration))]),
      factsOf(run)
        .map((text) => `- ${text}`)
        .join('\n'),
    ]),
  ];
}

function runTitle({ configuration: { mechanism, seed } }: NeedleRun): string {
  return `Trained with ${mechanismTitle(mechanism)}, seed ${seed}`;
}

function chartsOf(run: NeedleRun, measured: readonly Retrieval[]): readonly string[] {
  return [
    ...needleCharts(run).map(lineChart),
    ...keptOf(measured).map((k) =>
      depthMap(
        run,
        k,
        measured.filter((one) => one.k === k),
      ),
    ),
  ];
}

/** Accuracy, time and memory by length. */
export function needleCharts({ configuration, retrievals }: NeedleRun): readonly LineChart[] {
  const measured = retrievals.filter(({ rowMs }) => rowMs !== undefined);
  const kept = keptOf(measured);
  const series = (of: (one: Retrieval) => number | undefined): readonly Series[] =>
    kept.map((k, at) => ({
      name: keptTitle(k),
      className: classOf(k),
      isDashed: kept.slice(0, at).some((other) => classOf(other) === classOf(k)),
      points: measured.flatMap((one) => {
        const y = of(one);
        return one.k === k && y !== undefined && y > 0 ? [{ x: one.tokens, y }] : [];
      }),
    }));
  const x = { title: 'tokens of a row', isLog: true };
  const longest = configuration.training.tokens;
  return [
    {
      title: `Rows answered right by length. Trained on at most ${formatCount(longest)} tokens`,
      x,
      y: { title: '% right' },
      series: series(({ rows }) => accuracyOf(rows, configuration)),
      levels: [{ name: 'chance', y: 0 }],
    },
    {
      title: 'Time of a row by length',
      x,
      y: { title: 'seconds', isLog: true },
      series: series(({ rowMs }) => rowMs && rowMs / 1000),
    },
    {
      title: 'Most memory by length',
      x,
      y: { title: 'MiB', isLog: true },
      series: series(({ peakBytes }) => peakBytes && peakBytes / 2 ** 20),
    },
  ];
}

/** Rows answered right in per cent, by length and by where the needle lies. */
function depthMap({ configuration }: NeedleRun, k: Retrieval['k'], own: readonly Retrieval[]): string {
  const parts = Array.from({ length: DEPTHS }, (_, at) => at);
  return heatMap({
    title: `Rows answered right in per cent, with ${keptTitle(k)}, by length and depth of the needle`,
    x: { title: 'tokens of a row', names: own.map(({ tokens }) => shortCount(tokens)) },
    y: { title: 'depth %', names: parts.map((at) => `${at * DEPTHS}–${(at + 1) * DEPTHS}`) },
    values: parts.map((at) =>
      own.map(({ rows }) => {
        const here = rows.filter(({ depth }) => Math.min(DEPTHS - 1, Math.floor(depth * DEPTHS)) === at);
        return here.length === 0 ? undefined : accuracyOf(here, configuration);
      }),
    ),
    className: classOf(k),
  });
}

function classOf(k: Retrieval['k']): string {
  return k === 'exact' ? k : 'top-k';
}

/** 65536 -> "64K". */
function shortCount(tokens: number): string {
  return tokens % 1024 === 0 ? `${tokens / 1024}K` : formatCount(tokens);
}

function factsOf({ configuration, sessions, retrievals, result }: NeedleRun): readonly string[] {
  const { model, task, training } = configuration;
  const engines = [
    ...new Set([...sessions.map(({ engine }) => engine), ...retrievals.map(({ engine }) => engine)]),
  ];
  const dates = [...sessions, ...retrievals].map(({ date }) => date.slice(0, 10)).sort();
  return [
    `Model: ${model.layers} causal layers of width ${model.width}, ${model.heads} heads; relative positions up to ${model.maxDistance} tokens in the first layer, none above.`,
    `Rows: ${task.symbols} symbols; a key of ${task.keyTokens} and a value of ${task.valueTokens} of them.`,
    `Training: ${formatCount(training.steps)} steps of ${formatCount(training.stepTokens)} tokens, rows of ${formatCount(training.firstTokens)} to ${formatCount(training.tokens)}${result === undefined ? '; not finished' : `; ${formatDuration(result.stepMs)} per step, best at step ${formatCount(result.bestStep)}`}.`,
    `Engine: ${engines.join('; ') || 'unknown'}. ${[...new Set([dates[0], dates.at(-1)])].join(' to ')}.`,
  ];
}
