import { escapeHtml } from './escape-html.js';
import { linearScale, logScale, type Scale, tickText } from './scale.js';

/** In units of the drawing; a page shows it as wide as there is room. */
const WIDTH = 480;
const HEIGHT = 280;
const LEFT = 58;
const RIGHT = 10;
const TOP = 10;
const BOTTOM = 40;
const LEGEND = 18;

/** A line through points. */
export interface Series {
  readonly name: string;
  readonly points: readonly { readonly x: number; readonly y: number }[];
  /** Class in the page's style, which gives the colour. Series of one class are told apart by dashes. */
  readonly className: string;
  readonly isDashed?: boolean;
}

export interface LineChart {
  readonly title: string;
  readonly x: Axis;
  readonly y: Axis;
  readonly series: readonly Series[];
  /** Heights that are marked across the whole drawing, such as chance. */
  readonly levels?: readonly { readonly name: string; readonly y: number }[];
}

export interface Axis {
  readonly title: string;
  /** Default false: even. */
  readonly isLog?: boolean;
  /** The axis reaches at least to these. */
  readonly least?: number;
  readonly most?: number;
}

/** Lines over two axes, as one SVG with a legend. Its description names what is drawn, for screen readers. */
export function lineChart({ title, x, y, series, levels = [] }: LineChart): string {
  const drawn = series.filter(({ points }) => points.length > 0);
  const all = drawn.flatMap(({ points }) => points);
  const heights = [...all.map((point) => point.y), ...levels.map((level) => level.y)];
  const legend = [...drawn.map(({ name }) => name)].length * LEGEND;
  const across = scaleOf(
    x,
    all.map((point) => point.x),
    LEFT,
    WIDTH - RIGHT,
  );
  const up = scaleOf(y, heights, HEIGHT - BOTTOM, TOP);
  const parts = [...axes(x, y, across, up)];
  for (const level of levels) {
    const at = up.at(level.y).toFixed(1);
    parts.push(
      `<line class="level" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${at}" y2="${at}"/>`,
      `<text class="soft" x="${WIDTH - RIGHT}" y="${(up.at(level.y) - 4).toFixed(1)}" text-anchor="end">${escapeHtml(level.name)}</text>`,
    );
  }
  for (const [at, one] of drawn.entries()) {
    const dash = one.isDashed ? ' stroke-dasharray="5 4"' : '';
    const places = one.points.map((point) => `${across.at(point.x).toFixed(1)},${up.at(point.y).toFixed(1)}`);
    parts.push(`<polyline class="line ${escapeHtml(one.className)}"${dash} points="${places.join(' ')}"/>`);
    // A curve of many points needs no dots.
    if (one.points.length <= 24) {
      for (const place of places) {
        const [cx, cy] = place.split(',');
        parts.push(`<circle class="dot ${escapeHtml(one.className)}" cx="${cx}" cy="${cy}" r="2.5"/>`);
      }
    }
    const line = HEIGHT + at * LEGEND + 8;
    parts.push(
      `<line class="line ${escapeHtml(one.className)}"${dash} x1="${LEFT}" x2="${LEFT + 26}" y1="${line}" y2="${line}"/>`,
      `<text x="${LEFT + 34}" y="${line + 4}">${escapeHtml(one.name)}</text>`,
    );
  }
  const spoken = drawn.map(({ name, points }) => {
    const last = points.at(-1);
    return last === undefined ? name : `${name}: ${tickText(last.y)} at ${tickText(last.x)}`;
  });
  const description = escapeHtml(`${title}. ${y.title} by ${x.title}. ${spoken.join('; ')}.`);
  return `<svg viewBox="0 0 ${WIDTH} ${HEIGHT + legend + 6}" role="img" aria-label="${description}"><title>${escapeHtml(title)}</title>
${parts.join('\n')}
</svg>`;
}

/** The style that line charts need, besides the colours of their classes. */
export const lineChartStyle = `
  svg .line { fill: none; stroke: currentColor; stroke-width: 2; } svg .dot { fill: currentColor; stroke: none; }
  svg .axis { stroke: var(--line); } svg .level { stroke: var(--soft); stroke-dasharray: 2 3; }
  svg text.soft { fill: var(--soft); font-size: 11px; }`;

function axes(x: Axis, y: Axis, across: Scale, up: Scale): readonly string[] {
  const [bottom, right] = [HEIGHT - BOTTOM, WIDTH - RIGHT];
  const parts: string[] = [];
  for (const tick of up.ticks) {
    const at = up.at(tick).toFixed(1);
    parts.push(
      `<line class="axis" x1="${LEFT}" x2="${right}" y1="${at}" y2="${at}"/>`,
      `<text class="soft" x="${LEFT - 6}" y="${(up.at(tick) + 4).toFixed(1)}" text-anchor="end">${tickText(tick)}</text>`,
    );
  }
  for (const tick of across.ticks) {
    const at = across.at(tick).toFixed(1);
    parts.push(
      `<line class="axis" x1="${at}" x2="${at}" y1="${bottom}" y2="${bottom + 4}"/>`,
      `<text class="soft" x="${at}" y="${bottom + 16}" text-anchor="middle">${tickText(tick)}</text>`,
    );
  }
  parts.push(
    `<text class="soft" x="${right}" y="${bottom + 32}" text-anchor="end">${escapeHtml(x.title)}</text>`,
    `<text class="soft" x="4" y="${TOP}" transform="rotate(-90 4 ${TOP})" text-anchor="end" dy="8">${escapeHtml(y.title)}</text>`,
  );
  return parts;
}

function scaleOf({ isLog, least, most }: Axis, values: readonly number[], from: number, to: number): Scale {
  const low = Math.min(...values, least ?? Number.POSITIVE_INFINITY);
  const high = Math.max(...values, most ?? Number.NEGATIVE_INFINITY);
  if (!Number.isFinite(low)) return linearScale(0, 1, from, to);
  return isLog ? logScale(low, high, from, to) : linearScale(low, high, from, to);
}
