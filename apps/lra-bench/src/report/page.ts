import {
  escapeHtml,
  htmlPage,
  htmlTable,
  lineChart,
  lineChartStyle,
  markdownTable,
  spanChart,
  spanChartStyle,
  spreadChart,
} from '@topk-attention/app-kit';
import { comparisonTexts } from '../bench/comparison.js';
import { crossingCharts } from '../bench/crossing-charts.js';
import type { BenchResult } from '../bench/result.js';
import { studyCharts, studyTable } from '../bench/shown.js';
import { mechanismTitle } from '../model/mechanism.js';
import { mechanismNames } from '../model/settings.js';
import type { NeedleRun, Section } from './collect.js';
import { learningChart, runTitle, sameMechanism } from './learning-chart.js';
import { needlesHtml, needlesMarkdown } from './needles.js';
import { publishedFor } from './published.js';
import { groupsOf } from './summary.js';
import { accuracyTable, accuracyText, factsOf, keptKeysTable, sectionFacts, sectionTitle } from './tables.js';

const TITLE = 'Long Range Arena: exact, top-k and Performer attention';

/** What the numbers mean; on the face of every report. */
const meaning: readonly string[] = [
  'What this shows: with the same data order, first weights and steps, a model with top-k attention learns what one with exact attention learns, or does not; and what each costs in time and memory.',
  'What it does not show: long-range reasoning. Most tasks of the Long Range Arena are largely decided by short-range structure, and Transformers trained otherwise score far higher on them.',
  'Each table holds one configuration. Published rows differ by several points among themselves for the same mechanism: the exact row beside a mechanism is the one to compare it with. The majority class is what a model reaches that has learned nothing.',
];

/** What a report shows. */
export interface Reported {
  readonly sections: readonly Section[];
  readonly needles: readonly NeedleRun[];
  readonly benches: readonly BenchResult[];
}

/** The runs, the needles, and the studies of time and memory, as one self-contained page. */
export function reportPage({ sections, needles, benches }: Reported, command: string): string {
  const body = [
    `<h1>${escapeHtml(TITLE)}</h1>`,
    ...meaning.map((text) => `<p>${escapeHtml(text)}</p>`),
    ...sections.flatMap(sectionHtml),
    ...needlesHtml(needles),
    ...benches.flatMap((bench, at) => [
      `<h2 id="bench-${at}">${escapeHtml(bench.title)}</h2>`,
      `<p class="note">${escapeHtml(bench.about)}</p>`,
      ...studyCharts(bench).map((chart) => `<figure>${lineChart(chart)}</figure>`),
      ...crossingCharts(bench).map((chart) => `<figure>${spanChart(chart)}</figure>`),
      htmlTable(studyTable(bench), `bench-${at}`),
      ...textsOf(bench).map((text) => `<p>${escapeHtml(text)}</p>`),
    ]),
    `<footer><p>Made by <code>${escapeHtml(command)}</code>.</p></footer>`,
  ];
  return htmlPage({
    title: TITLE,
    body: body.join('\n'),
    style: `${lineChartStyle}${spanChartStyle}${colours}`,
  });
}

const colours = `
  figure { margin: 1rem 0; } svg { max-width: 40rem; }
  .exact { color: #1f6feb; } .top-k { color: #1a7f37; } .performer { color: #bc4c00; } .performer-relu { color: #8250df; }
  .whole { color: #59636e; } ${otherColours()} .cell { fill: currentColor; }
  @media (prefers-color-scheme: dark) { .exact { color: #58a6ff; } .top-k { color: #3fb950; } .performer { color: #f0883e; } .performer-relu { color: #bc8cff; } }`;

function textsOf(bench: BenchResult): readonly string[] {
  return bench.study === 'mechanisms' ? comparisonTexts(bench) : [];
}

/** Of the mechanisms without a colour above: more than the eye can tell apart by colour, so that dashes help. */
function otherColours(): string {
  const hues = [0, 35, 60, 120, 165, 190, 250, 310];
  const dashes = ['7 3', '2 3'];
  return mechanismNames
    .slice(4)
    .map((name, at) => {
      const dash = dashes[Math.floor(at / hues.length) % dashes.length];
      const colour = `hsl(${hues[at % hues.length]} 75% 42%)`;
      // Dashes of a line's own tell runs of one mechanism apart.
      return `.${name} { color: ${colour}; } .${name}:not([stroke-dasharray]) { stroke-dasharray: ${dash}; }`;
    })
    .join(' ');
}

function sectionHtml(section: Section): readonly string[] {
  const { id } = section;
  const kept = keptKeysTable(section);
  return [
    `<h2 id="${id}">${escapeHtml(sectionTitle(section))}</h2>`,
    `<figure>${accuracyChart(section)}</figure>`,
    htmlTable(accuracyTable(section), id),
    `<figure>${lineChart(learningChart(section))}</figure>`,
    ...(kept === undefined
      ? []
      : [
          `<h3 id="${id}-k">Accuracy against the number of kept keys, without retraining</h3>`,
          `<figure>${keptKeysChart(section)}</figure>`,
          htmlTable(kept, `${id}-k`),
        ]),
    ...sectionFacts(section).map((text) => `<p class="note">${escapeHtml(text)}</p>`),
  ];
}

function accuracyChart(section: Section): string {
  const { task, preset, data } = factsOf(section);
  const groups = groupsOf(section).filter(({ accuracies }) => accuracies.length > 0);
  if (groups.length === 0) return '';
  return spreadChart({
    title: `${sectionTitle(section)}. Test accuracy in per cent: a dot per seed, rings are published`,
    rows: [
      ...groups.map((group) => ({
        name: group.title,
        values: group.accuracies,
        figure: accuracyText(group),
        className: group.className,
      })),
      ...publishedFor(preset, task).map(({ source, mechanism, accuracy }) => ({
        name: mechanismTitle({ name: mechanism }),
        values: [accuracy[task] as number],
        figure: `${(accuracy[task] as number).toFixed(1)} ${source.split(' ')[0]}`,
        className: mechanism,
        isCited: true,
      })),
    ],
    levels: [{ name: 'majority class', value: data.majority }],
  });
}

function keptKeysChart(section: Section): string {
  const { data } = factsOf(section);
  const runs = section.runs.filter(({ evaluations }) => evaluations.length > 0);
  return lineChart({
    title: 'Test accuracy by the number of kept keys',
    x: { title: 'keys that each query keeps', isLog: true },
    y: { title: 'test accuracy %' },
    series: runs.map((run, at) => ({
      name: `trained with ${runTitle(run)}`,
      className: run.configuration.mechanism.name,
      isDashed: runs.slice(0, at).some((other) => sameMechanism(other, run)),
      points: run.evaluations.flatMap(({ k, accuracy }) => (k === 'exact' ? [] : [{ x: k, y: accuracy }])),
    })),
    levels: [{ name: 'majority class', y: data.majority }],
  });
}

/** The same tables in Markdown. */
export function reportMarkdown({ sections, needles, benches }: Reported): string {
  const parts = [`# ${TITLE}`, ...meaning];
  for (const section of sections) {
    parts.push(`## ${sectionTitle(section)}`, markdownTable(accuracyTable(section)));
    const kept = keptKeysTable(section);
    if (kept !== undefined)
      parts.push('Accuracy against the number of kept keys, without retraining:', markdownTable(kept));
    parts.push(
      sectionFacts(section)
        .map((text) => `- ${text}`)
        .join('\n'),
    );
  }
  parts.push(...needlesMarkdown(needles));
  for (const bench of benches) {
    parts.push(`## ${bench.title}`, bench.about, markdownTable(studyTable(bench)));
    const texts = textsOf(bench).map((text) => `- ${text}`);
    if (texts.length > 0) parts.push(texts.join('\n'));
  }
  return `${parts.join('\n\n')}\n`;
}
