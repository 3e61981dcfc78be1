import { escapeHtml } from './escape-html.js';

/** In units of the drawing, which is as wide as a page on a phone: there a unit is a pixel. */
const WIDTH = 360;
const LABELS = 56;
/** Room for the figure after the longest bar. */
const FIGURES = 74;
const BAR = 15;
const STEP = 19;
const HEAD = 22;
const GAP = 8;

/** One bar. */
export interface Bar {
  /** Shown before the bar; also its class in the page's style. */
  readonly name: string;
  /** At least 0; the longest bar has the largest size. */
  readonly size: number;
  /** Shown after the bar. */
  readonly figure: string;
}

/** Bars under a heading. */
export interface BarGroup {
  readonly title: string;
  readonly bars: readonly Bar[];
}

/** Horizontal bars in groups, as one SVG. Its description repeats what they show, for screen readers. */
export function barChart(title: string, groups: readonly BarGroup[]): string {
  const most = Math.max(1, ...groups.flatMap(({ bars }) => bars.map(({ size }) => size)));
  const parts: string[] = [];
  const spoken: string[] = [];
  let y = 0;
  for (const group of groups) {
    parts.push(`<text class="group" x="0" y="${y + 14}">${escapeHtml(group.title)}</text>`);
    y += HEAD;
    for (const { name, size, figure } of group.bars) {
      const width = ((WIDTH - LABELS - FIGURES) * size) / most;
      parts.push(
        `<text x="0" y="${y + 12}">${escapeHtml(name)}</text>`,
        `<rect class="${escapeHtml(name)}" x="${LABELS}" y="${y}" width="${Math.max(1, width).toFixed(1)}" height="${BAR}"/>`,
        `<text x="${(LABELS + width + 6).toFixed(1)}" y="${y + 12}">${escapeHtml(figure)}</text>`,
      );
      spoken.push(`${group.title}, ${name}: ${figure}`);
      y += STEP;
    }
    y += GAP;
  }
  const description = escapeHtml(`${title}. ${spoken.join('; ')}.`);
  return `<svg viewBox="0 0 ${WIDTH} ${y}" role="img" aria-label="${description}"><title>${escapeHtml(title)}</title>
${parts.join('\n')}
</svg>`;
}
