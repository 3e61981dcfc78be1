import {
  barChart,
  escapeHtml as escape,
  formatCount,
  formatDuration,
  formatMebibytes,
  htmlPage,
  htmlTable,
} from '@topk-attention/app-kit';
import { findingsOf } from './findings.js';
import { byLength, memoryIs, ownBytes, PLAIN_IS, type Run, type StartReport, ways } from './report.js';
import { answerTable, runTable, shownRuns } from './tables.js';

const style = `
  :root { --plain: #b4532a; --exact: #7a8596; --top-k: #0b6e8a; }
  @media (prefers-color-scheme: dark) { :root { --plain: #e08a5b; --exact: #97a2b2; --top-k: #4db6d3; } }
  .plain { fill: var(--plain); } .exact { fill: var(--exact); } .top-k { fill: var(--top-k); }`;

/** One self-contained HTML page: the findings of `pnpm start`, its tables, and its memory and times as bars. */
export function htmlReport(report: StartReport): string {
  const { engine, document, runs, date, command } = report;
  const longest = Math.max(0, ...shownRuns(report).map(({ tokens }) => tokens));
  const body = `<h1>Plain, exact and top-k attention over the same text</h1>
<p>${escape(totals(report))}</p>
<dl>
${findingsOf(report)
  .map(({ title, text }) => `<dt>${escape(title)}</dt>\n<dd>${escape(text)}</dd>`)
  .join('\n')}
</dl>
<h2 id="memory">Memory beyond engine and model</h2>
${bars(runs, 'Memory beyond engine and model, in MiB', ownBytes, (bytes) => `${formatMebibytes(bytes)} MiB`)}
<h2 id="time">Time of an answer</h2>
${bars(runs, 'Time of the median answer', ({ milliseconds }) => milliseconds, formatDuration)}
<h2 id="runs">Every way at every length</h2>
${htmlTable(runTable(report, 'message'), 'runs')}
<p class="note">${escape(PLAIN_IS)} ${escape(memoryIs(report))} Times are of the median answer.</p>
<h2 id="answers">The answers over ${formatCount(longest)} tokens</h2>
${htmlTable(answerTable(report), 'answers')}
<footer>
<p>${escape(date)}, <code>${escape(command)}</code><br>${escape(engine.description)}<br>Text: ${escape(document)}</p>
</footer>`;
  return htmlPage({ title: 'Plain, exact and top-k attention', body, style });
}

/** Right answers of each way over all lengths. */
function totals({ runs }: StartReport): string {
  const parts = ways.flatMap((way) => {
    const own = runs.filter((run) => run.way === way && run.failure === undefined);
    const asked = own.reduce((sum, { answers }) => sum + answers.length, 0);
    const right = own.reduce((sum, run) => sum + run.right, 0);
    return asked === 0 ? [] : [`${way} ${right} of ${asked}`];
  });
  return `Right answers over all lengths: ${parts.join(', ')}.`;
}

/** One bar per run, grouped by length. */
function bars(
  runs: readonly Run[],
  title: string,
  sizeOf: (run: Run) => number,
  figureOf: (size: number) => string,
): string {
  const groups = byLength(runs).map((group) => ({
    title: `${formatCount(Math.max(...group.map(({ tokens }) => tokens)))} tokens`,
    bars: group.map((run) => ({
      name: run.way,
      size: run.failure === undefined ? sizeOf(run) : 0,
      figure: run.failure?.summary ?? figureOf(sizeOf(run)),
    })),
  }));
  return barChart(title, groups);
}
