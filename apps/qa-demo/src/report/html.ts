import type { Answer, EngineInfo } from '../engine/types.js';

export interface StartRow {
  readonly question: string;
  readonly gold: string;
  readonly exact: Answer;
  readonly topK: Answer;
  readonly agree: boolean;
}

export interface StartReport {
  readonly engine: EngineInfo;
  readonly document: string;
  readonly rows: readonly StartRow[];
}

const BAR_PIXELS = 360;

const style = `
  body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1c2430; background: #fff; }
  table { border-collapse: collapse; width: 100%; }
  th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid #d8dde4; vertical-align: top; }
  td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
  .exact { fill: #8a94a3; } .topk { fill: #0b6e8a; }
  text { font-size: 12px; fill: #1c2430; }
  @media (prefers-color-scheme: dark) {
    body { color: #e4e8ee; background: #14181e; } th, td { border-color: #39424e; } text { fill: #e4e8ee; }
    .topk { fill: #4db6d3; }
  }`;

/** One HTML page without anything from elsewhere: the table of `pnpm start`, and its times and peaks as bars. */
export function htmlReport({ engine, document, rows }: StartReport): string {
  const cells = rows.map(
    ({ question, gold, exact, topK, agree }) => `<tr><td>${escape(question)}</td><td>${escape(gold)}</td>
      <td>${escape(exact.text)}</td><td>${escape(topK.text)}</td><td>${agree ? 'yes' : 'no'}</td>
      <td class="number">${ms(exact)}</td><td class="number">${ms(topK)}</td>
      <td class="number">${mib(exact)}</td><td class="number">${mib(topK)}</td></tr>`,
  );
  const last = rows.at(-1);
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Exact and top-k answers</title>
<style>${style}</style>
<h1>Exact and top-k answers</h1>
<p>${escape(engine.description)}<br>
${escape(document)}, ${last?.topK.promptTokens.toLocaleString('en-US')} tokens with the question.<br>
top-k keeps ${last?.topK.attentionK} keys and ${last?.topK.feedForwardK} of ${engine.feedForwardUnits} hidden units a token.</p>
<table>
<tr><th>Question</th><th>Gold</th><th>Exact</th><th>Top-k</th><th>Agree</th><th class="number">Exact ms</th>
<th class="number">Top-k ms</th><th class="number">Exact MiB</th><th class="number">Top-k MiB</th></tr>
${cells.join('\n')}
</table>
<h2>Time of each answer</h2>
${bars(
  rows,
  (answer) => answer.milliseconds,
  (answer) => `${ms(answer)} ms`,
)}
<h2>Peak memory of the process so far</h2>
${bars(
  rows,
  (answer) => answer.peakBytes,
  (answer) => `${mib(answer)} MiB`,
)}
</html>
`;
}

function bars(
  rows: readonly StartRow[],
  size: (answer: Answer) => number,
  label: (answer: Answer) => string,
): string {
  const most = Math.max(1, ...rows.flatMap((row) => [size(row.exact), size(row.topK)]));
  const height = rows.length * 48;
  const parts = rows.flatMap((row, at) =>
    (['exact', 'topK'] as const).map((name, line) => {
      const width = (BAR_PIXELS * size(row[name])) / most;
      const y = at * 48 + line * 18 + 4;
      const title = name === 'exact' ? 'exact' : 'top-k';
      return `<rect class="${name.toLowerCase()}" x="80" y="${y}" width="${width.toFixed(1)}" height="15"/>
<text x="${(86 + width).toFixed(1)}" y="${y + 12}">${label(row[name])}</text>
<text x="30" y="${y + 12}">${title}</text>${line === 0 ? `<text x="4" y="${y + 20}">${at + 1}</text>` : ''}`;
    }),
  );
  return `<svg viewBox="0 0 560 ${height}" width="560" role="img">${parts.join('\n')}</svg>`;
}

function ms(answer: Answer): string {
  return String(Math.round(answer.milliseconds));
}

function mib(answer: Answer): string {
  return (answer.peakBytes / 2 ** 20).toFixed(0);
}

function escape(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.codePointAt(0)};`);
}
