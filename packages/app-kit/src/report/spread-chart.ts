import { escapeHtml } from './escape-html.js';
import { linearScale, tickText } from './scale.js';

const WIDTH = 480;
const LABELS = 130;
const FIGURES = 110;
const ROW = 22;
const AXIS = 22;

/** A row: values, drawn as dots over the line from the least to the largest, and their mean. */
export interface Spread {
  readonly name: string;
  /** At least one. */
  readonly values: readonly number[];
  /** Shown after the row. */
  readonly figure: string;
  /** Class in the page's style, which gives the colour. */
  readonly className: string;
  /** Drawn as a ring: a number that others published. */
  readonly isCited?: boolean;
}

export interface SpreadChart {
  readonly title: string;
  readonly rows: readonly Spread[];
  /** Values marked across all rows, such as the majority class. */
  readonly levels?: readonly { readonly name: string; readonly value: number }[];
}

/** Rows of dots over one axis, as one SVG. Its description repeats what they show. */
export function spreadChart({ title, rows, levels = [] }: SpreadChart): string {
  const values = [...rows.flatMap((row) => row.values), ...levels.map(({ value }) => value)];
  const scale = linearScale(Math.min(...values), Math.max(...values), LABELS, WIDTH - FIGURES);
  const height = AXIS + rows.length * ROW;
  const parts: string[] = [];
  for (const tick of scale.ticks) {
    const at = scale.at(tick).toFixed(1);
    parts.push(
      `<line class="axis" x1="${at}" x2="${at}" y1="${AXIS - 4}" y2="${height}"/>`,
      `<text class="soft" x="${at}" y="12" text-anchor="middle">${tickText(tick)}</text>`,
    );
  }
  for (const { name, value } of levels) {
    const at = scale.at(value).toFixed(1);
    parts.push(
      `<line class="level" x1="${at}" x2="${at}" y1="${AXIS - 4}" y2="${height}"><title>${escapeHtml(name)}</title></line>`,
    );
  }
  for (const [index, { name, values: own, figure, className, isCited }] of rows.entries()) {
    const y = AXIS + index * ROW + ROW / 2;
    const kind = escapeHtml(className);
    const [low, high] = [scale.at(Math.min(...own)).toFixed(1), scale.at(Math.max(...own)).toFixed(1)];
    const mean = scale.at(own.reduce((sum, value) => sum + value, 0) / own.length).toFixed(1);
    parts.push(
      `<text x="0" y="${y + 4}">${escapeHtml(name)}</text>`,
      `<text x="${WIDTH - FIGURES + 8}" y="${y + 4}">${escapeHtml(figure)}</text>`,
    );
    if (isCited) {
      parts.push(`<circle class="line ${kind}" cx="${mean}" cy="${y}" r="4"/>`);
      continue;
    }
    parts.push(`<line class="line ${kind}" x1="${low}" x2="${high}" y1="${y}" y2="${y}"/>`);
    for (const value of own)
      parts.push(`<circle class="dot ${kind}" cx="${scale.at(value).toFixed(1)}" cy="${y}" r="2.5"/>`);
    parts.push(`<line class="line ${kind}" x1="${mean}" x2="${mean}" y1="${y - 6}" y2="${y + 6}"/>`);
  }
  const spoken = [
    ...rows.map(({ name, figure }) => `${name}: ${figure}`),
    ...levels.map(({ name, value }) => `${name}: ${tickText(value)}`),
  ];
  const description = escapeHtml(`${title}. ${spoken.join('; ')}.`);
  return `<svg viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${description}"><title>${escapeHtml(title)}</title>
${parts.join('\n')}
</svg>`;
}
