import { count, findingsOf, mebibytes } from '../demo/findings.js';
import { byLength, ownBytes, PLAIN_IS, type Run, type StartReport, wayNames, ways } from '../demo/report.js';
import { memoryIs, shownRuns } from '../demo/summary.js';
import { formatDuration } from '../output/progress.js';
import { barChart } from './bars.js';
import { escapeHtml as escape } from './escape.js';

const style = `
  :root { --text: #1c2430; --soft: #566173; --line: #d8dde4; --page: #fff; --plain: #b4532a; --exact: #7a8596; --top-k: #0b6e8a; }
  @media (prefers-color-scheme: dark) {
    :root { --text: #e4e8ee; --soft: #a3adbb; --line: #39424e; --page: #14181e; --plain: #e08a5b; --exact: #97a2b2; --top-k: #4db6d3; }
  }
  * { box-sizing: border-box; }
  body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 52rem; padding: 1rem; color: var(--text); background: var(--page); }
  h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
  table { border-collapse: collapse; width: 100%; font-size: .9rem; }
  th, td { text-align: left; padding: .35rem .5rem; border-bottom: 1px solid var(--line); vertical-align: top; }
  thead th { color: var(--soft); font-weight: 600; }
  td.number { white-space: nowrap; } .number { text-align: right; font-variant-numeric: tabular-nums; }
  tbody th { font-weight: 400; }
  .plain { fill: var(--plain); } .exact { fill: var(--exact); } .top-k { fill: var(--top-k); }
  svg { display: block; width: 100%; max-width: 30rem; height: auto; }
  svg text { font-size: 12px; fill: var(--text); } svg .length { font-weight: 600; }
  dt { font-weight: 600; margin-top: .75rem; } dd { margin: 0; }
  footer, .note { color: var(--soft); font-size: .9rem; }
  code { overflow-wrap: anywhere; }
  @media (max-width: 34rem) { table { font-size: .8rem; } th, td { padding: .3rem .25rem; } }`;

/** One HTML page without anything from elsewhere: the findings of `pnpm start`, its tables, and its memory and times as bars. */
export function htmlReport(report: StartReport): string {
  const { engine, document, runs, date, command } = report;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Plain, exact and top-k attention</title>
<style>${style}</style>
</head>
<body>
<h1>Plain, exact and top-k attention over the same text</h1>
<p>${escape(totals(report))}</p>
<dl>
${findingsOf(report)
  .map(({ title, text }) => `<dt>${escape(title)}</dt>\n<dd>${escape(text)}</dd>`)
  .join('\n')}
</dl>
<h2 id="memory">Memory beyond engine and model</h2>
${barChart(runs, 'Memory beyond engine and model, in MiB', ownBytes, (run) => `${mebibytes(ownBytes(run))} MiB`)}
<h2 id="time">Time of an answer</h2>
${barChart(
  runs,
  'Time of the median answer',
  ({ milliseconds }) => milliseconds,
  ({ milliseconds }) => formatDuration(milliseconds),
)}
<h2 id="runs">Every way at every length</h2>
${runTable(runs)}
<p class="note">${escape(PLAIN_IS)} ${escape(memoryIs(report))} Times are of the median answer.</p>
<h2 id="answers">The answers over ${count(Math.max(0, ...shownRuns(report).map(({ tokens }) => tokens)))} tokens</h2>
${answerTable(report)}
<footer>
<p>${escape(date)}, <code>${escape(command)}</code><br>${escape(engine.description)}<br>Text: ${escape(document)}</p>
</footer>
</body>
</html>
`;
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

function runTable(runs: readonly Run[]): string {
  const rows = byLength(runs).flatMap((group) =>
    group.map(({ way, tokens, failure, milliseconds, peakBytes, answers, right }, at) => {
      const length =
        at === 0 ? `<th scope="rowgroup" class="number" rowspan="${group.length}">${count(tokens)}</th>` : '';
      const cells =
        failure === undefined
          ? [
              formatDuration(milliseconds),
              mebibytes(peakBytes),
              mebibytes(ownBytes(group[at] as Run)),
              `${right} of ${answers.length}`,
            ]
              .map((cell) => `<td class="number">${cell}</td>`)
              .join('')
          : `<td colspan="4">${escape(failure.message)}</td>`;
      return `<tr>${length}<th scope="row">${wayNames[way]}</th>${cells}</tr>`;
    }),
  );
  return `<table aria-labelledby="runs">
<thead><tr><th scope="col" class="number">Tokens</th><th scope="col">Attention</th><th scope="col" class="number">An answer</th>
<th scope="col" class="number">Peak MiB</th><th scope="col" class="number">Beyond model</th><th scope="col" class="number">Right</th></tr></thead>
<tbody>
${rows.join('\n')}
</tbody>
</table>`;
}

function answerTable(report: StartReport): string {
  const shown = shownRuns(report);
  const rows = report.questions.map(({ question, answer }, at) => {
    const given = ways.map((way) => shown.find((run) => run.way === way)?.answers[at]?.text ?? '');
    const cells = [answer, ...given].map((cell) => `<td>${escape(cell)}</td>`).join('');
    return `<tr><th scope="row">${escape(question)}</th>${cells}</tr>`;
  });
  return `<table aria-labelledby="answers">
<thead><tr><th scope="col">Question</th><th scope="col">Right answer</th>${ways.map((way) => `<th scope="col">${way}</th>`).join('')}</tr></thead>
<tbody>
${rows.join('\n')}
</tbody>
</table>`;
}
