import { count } from '../demo/findings.js';
import { byLength, type Run } from '../demo/report.js';
import { escapeHtml as escape } from './escape.js';

/** Units of the drawing, which is as wide as a phone's page: there a unit is a pixel. */
const WIDTH = 360;
const LABELS = 56;
/** Room for the figure behind the longest bar. */
const FIGURES = 74;
const BAR = 15;
const STEP = 19;
const HEAD = 22;

/**
 * One bar a run, lengths in groups, as one SVG. What the bars show stands in its description too, for those who hear the
 * page.
 */
export function barChart(
  runs: readonly Run[],
  title: string,
  size: (run: Run) => number,
  figure: (run: Run) => string,
): string {
  const most = Math.max(1, ...runs.filter(({ failure }) => failure === undefined).map(size));
  const parts: string[] = [];
  const spoken: string[] = [];
  let y = 0;
  for (const group of byLength(runs)) {
    const tokens = `${count(Math.max(...group.map((run) => run.tokens)))} tokens`;
    parts.push(`<text class="length" x="0" y="${y + 14}">${tokens}</text>`);
    y += HEAD;
    for (const run of group) {
      const { way, failure } = run;
      const width = failure === undefined ? ((WIDTH - LABELS - FIGURES) * size(run)) / most : 0;
      const text = failure?.summary ?? figure(run);
      parts.push(
        `<text x="0" y="${y + 12}">${way}</text>`,
        `<rect class="${way}" x="${LABELS}" y="${y}" width="${Math.max(1, width).toFixed(1)}" height="${BAR}"/>`,
        `<text x="${(LABELS + width + 6).toFixed(1)}" y="${y + 12}">${escape(text)}</text>`,
      );
      spoken.push(`${tokens}, ${way}: ${text}`);
      y += STEP;
    }
    y += 8;
  }
  const description = escape(`${title}. ${spoken.join('; ')}.`);
  return `<svg viewBox="0 0 ${WIDTH} ${y}" role="img" aria-label="${description}"><title>${escape(title)}</title>
${parts.join('\n')}
</svg>`;
}
