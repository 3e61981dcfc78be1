import { escapeHtml } from './escape-html.js';

const style = `
  :root { --text: #1c2430; --soft: #566173; --line: #d8dde4; --page: #fff; }
  @media (prefers-color-scheme: dark) { :root { --text: #e4e8ee; --soft: #a3adbb; --line: #39424e; --page: #14181e; } }
  * { box-sizing: border-box; }
  body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 52rem; padding: 1rem; color: var(--text); background: var(--page); }
  h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
  table { border-collapse: collapse; width: 100%; font-size: .9rem; }
  th, td { text-align: left; padding: .35rem .5rem; border-bottom: 1px solid var(--line); vertical-align: top; }
  thead th { color: var(--soft); font-weight: 600; } thead th::first-letter { text-transform: uppercase; }
  td.number { white-space: nowrap; } .number { text-align: right; font-variant-numeric: tabular-nums; }
  tbody th { font-weight: 400; }
  svg { display: block; width: 100%; max-width: 30rem; height: auto; }
  svg text { font-size: 12px; fill: var(--text); } svg .group { font-weight: 600; }
  dt { font-weight: 600; margin-top: .75rem; } dd { margin: 0; }
  footer, .note { color: var(--soft); font-size: .9rem; }
  code { overflow-wrap: anywhere; }
  @media (max-width: 34rem) { table { font-size: .8rem; } th, td { padding: .3rem .25rem; } }`;

/**
 * The parts of a page. All but the title are HTML and CSS, inserted as they are: pass text through `escapeHtml`
 * first.
 */
export interface HtmlPage {
  readonly title: string;
  readonly body: string;
  /** Follows the style that all reports share: colours of the bars, for example. */
  readonly style?: string;
}

/** One self-contained HTML page. It follows the reader's light or dark colours. */
export function htmlPage({ title, body, style: own = '' }: HtmlPage): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title>
<style>${style}${own}</style>
</head>
<body>
${body}
</body>
</html>
`;
}
