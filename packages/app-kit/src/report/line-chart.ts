import { axisStyle, chartFile, seriesColours } from './chart-file.js';
import { escapeHtml } from './escape-html.js';
import { linearScale, logScale, type Scale, tickText } from './scale.js';

/** A place on a line and, of several measurements, the lowest and highest there. */
export interface LinePoint {
  readonly x: number;
  readonly y: number;
  readonly low?: number;
  readonly high?: number;
}

/** A line through points, in a band from `low` to `high` where they have them. */
export interface Series {
  readonly name: string;
  /** In the order of x. */
  readonly points: readonly LinePoint[];
  /** Class in the style, which gives the colour. Series of one class are told apart by dashes. Default: by its place. */
  readonly className?: string;
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
  /** The axis ends here, and lines above it are cut. Default: at the highest point. */
  readonly most?: number;
}

/** Where things stand, in units of the drawing; a page shows it as wide as there is room. */
interface Frame {
  readonly width: number;
  readonly height: number;
  readonly plot: {
    readonly left: number;
    readonly right: number;
    readonly top: number;
    readonly bottom: number;
  };
  /** Of the first entry of the legend, and from one to the next. */
  readonly legend: { readonly x: number; readonly y: number; readonly step: number };
}

/** Narrow enough for a phone: the legend is below. */
const onPage: Frame = {
  ...{ width: 480, height: 280, plot: { left: 58, right: 470, top: 10, bottom: 240 } },
  legend: { x: 58, y: 288, step: 18 },
};
/** As wide as a column of text: the legend is at the side, the title above. */
const inFile: Frame = {
  ...{ width: 720, height: 328, plot: { left: 66, right: 520, top: 44, bottom: 274 } },
  legend: { x: 532, y: 62, step: 20 },
};

const dashes = ['none', '7 3', '2 3', '9 3 2 3', '4 4', '12 4'];
/** Lines that look different in a file: each colour with four kinds of dashes. */
export const LINE_STYLES: number = 4 * seriesColours.length;
const palette = Array.from({ length: LINE_STYLES }, (_, at) => {
  const round = Math.floor(at / seriesColours.length);
  return [seriesColours[at % seriesColours.length], dashes[(at + round) % dashes.length]] as const;
});

/** Lines over two axes, as one SVG with a legend. Its description names what is drawn, for screen readers. */
export function lineChart(chart: LineChart): string {
  const { width, height, legend } = onPage;
  const total = height + drawnOf(chart).length * legend.step + 6;
  return `<svg viewBox="0 0 ${width} ${total}" role="img" aria-label="${escapeHtml(described(chart))}"><title>${escapeHtml(chart.title)}</title>
${isCut(chart) ? clip(onPage) : ''}${drawing(chart, onPage)}
</svg>`;
}

const lineStyle = `
  svg .line { fill: none; stroke: currentColor; stroke-width: 2; } svg .dot { fill: currentColor; stroke: none; }
  svg .band { fill: currentColor; stroke: none; opacity: 0.18; }`;

/** The style that line charts need, besides the colours of their classes. */
export const lineChartStyle: string = `${lineStyle}${axisStyle({ line: 'var(--line)', soft: 'var(--soft)' })}`;

/** Charts one below the other, as one SVG file for light and dark pages. Its description names what is drawn. */
export function lineChartFile(title: string, charts: readonly LineChart[]): string {
  const { legend } = inFile;
  const lines = charts.map(drawnOf);
  // Long names and long legends take more room.
  const letters = Math.max(0, ...lines.flat().map(({ name }) => name.length));
  const width = Math.max(inFile.width, legend.x + 46 + 7 * letters);
  let total = 0;
  const panels = charts.map((chart, at) => {
    const top = total;
    total += Math.max(inFile.height, legend.y + (lines[at]?.length ?? 0) * legend.step + 8);
    return `<g transform="translate(0 ${top})"><text class="title" x="16" y="24">${escapeHtml(chart.title)}</text>
${drawing(chart, inFile)}
</g>`;
  });
  total = Math.max(total, inFile.height);
  return chartFile({
    title,
    description: [`${title}.`, ...charts.map(described)].join(' '),
    width,
    height: total,
    style: fileStyle,
    definitions: clip(inFile),
    body: panels.join('\n'),
  });
}

/** Of a file, which has no page around it. */
const fileStyle = `${lineStyle}
${palette.map(([colour, dashes], at) => `  .series-${at + 1} { color: ${colour}; stroke-dasharray: ${dashes}; }`).join('\n')}`;

/** Line by line, as they are drawn: those without points are left out. */
function drawnOf({ series }: LineChart): readonly Series[] {
  return series.filter(({ points }) => points.length > 0);
}

function described(chart: LineChart): string {
  const spoken = drawnOf(chart).map(({ name, points }) => {
    const { x, y } = points.at(-1) as LinePoint;
    return `${name}: ${tickText(y)} at ${tickText(x)}`;
  });
  const axes = `${chart.title}. ${chart.y.title} by ${chart.x.title}.`;
  return spoken.length === 0 ? axes : `${axes} ${spoken.join('; ')}.`;
}

function isCut({ x, y }: LineChart): boolean {
  return x.most !== undefined || y.most !== undefined;
}

/** Charts of one frame have one clip in their own coordinates, so that its name may stand in a page several times. */
function clip({ plot: { left, right, top, bottom } }: Frame): string {
  return `<clipPath id="plot"><rect x="${left}" y="${top}" width="${right - left}" height="${bottom - top}"/></clipPath>\n`;
}

function drawing(chart: LineChart, { plot, legend }: Frame): string {
  const { x, y, levels = [] } = chart;
  const drawn = drawnOf(chart);
  const all = drawn.flatMap(({ points }) => points);
  const heights = all.flatMap(({ y: middle, low = middle, high = middle }) => [low, high]);
  const across = scaleOf(
    x,
    all.map((point) => point.x),
    plot.left,
    plot.right,
  );
  const up = scaleOf(y, [...heights, ...levels.map((level) => level.y)], plot.bottom, plot.top);
  const place = (atX: number, atY: number): string => `${across.at(atX).toFixed(1)},${up.at(atY).toFixed(1)}`;
  const parts = [...axes(x, y, across, up, plot)];
  for (const level of levels) {
    const at = up.at(level.y).toFixed(1);
    parts.push(
      `<line class="level" x1="${plot.left}" x2="${plot.right}" y1="${at}" y2="${at}"/>`,
      `<text class="soft" x="${plot.right}" y="${(up.at(level.y) - 4).toFixed(1)}" text-anchor="end">${escapeHtml(level.name)}</text>`,
    );
  }
  const curves: string[] = [];
  const names: string[] = [];
  for (const [at, { name, points, className, isDashed }] of drawn.entries()) {
    const kind = escapeHtml(className ?? `series-${(at % palette.length) + 1}`);
    const dash = isDashed ? ' stroke-dasharray="5 4"' : '';
    const isBand = points.some(({ low, high }) => low !== undefined || high !== undefined);
    if (isBand) {
      const upper = points.map((point) => place(point.x, point.high ?? point.y));
      const lower = points.map((point) => place(point.x, point.low ?? point.y)).reverse();
      curves.push(`<polygon class="band ${kind}" points="${[...upper, ...lower].join(' ')}"/>`);
    }
    const places = points.map((point) => place(point.x, point.y));
    curves.push(`<polyline class="line ${kind}"${dash} points="${places.join(' ')}"/>`);
    // A curve of many points needs no dots, nor does one in a band.
    if (!isBand && points.length <= 24) {
      for (const [cx, cy] of places.map((one) => one.split(',')))
        curves.push(`<circle class="dot ${kind}" cx="${cx}" cy="${cy}" r="2.5"/>`);
    }
    const line = legend.y + at * legend.step;
    names.push(
      `<line class="line ${kind}"${dash} x1="${legend.x}" x2="${legend.x + 26}" y1="${line}" y2="${line}"/>`,
      `<text x="${legend.x + 34}" y="${line + 4}">${escapeHtml(name)}</text>`,
    );
  }
  const cut = isCut(chart) ? ['<g clip-path="url(#plot)">', ...curves, '</g>'] : curves;
  return [...parts, ...cut, ...names].join('\n');
}

function axes(
  x: Axis,
  y: Axis,
  across: Scale,
  up: Scale,
  { left, right, top, bottom }: Frame['plot'],
): readonly string[] {
  const parts: string[] = [];
  for (const tick of up.ticks) {
    const at = up.at(tick).toFixed(1);
    parts.push(
      `<line class="axis" x1="${left}" x2="${right}" y1="${at}" y2="${at}"/>`,
      `<text class="soft" x="${left - 6}" y="${(up.at(tick) + 4).toFixed(1)}" text-anchor="end">${tickText(tick)}</text>`,
    );
  }
  for (const tick of across.ticks) {
    const at = across.at(tick).toFixed(1);
    parts.push(
      `<line class="axis" x1="${at}" x2="${at}" y1="${bottom}" y2="${bottom + 4}"/>`,
      `<text class="soft" x="${at}" y="${bottom + 16}" text-anchor="${anchorOf(across.at(tick), right)}">${tickText(tick)}</text>`,
    );
  }
  parts.push(
    `<text class="soft" x="${right}" y="${bottom + 32}" text-anchor="end">${escapeHtml(x.title)}</text>`,
    `<text class="soft" x="${left - 54}" y="${top}" transform="rotate(-90 ${left - 54} ${top})" text-anchor="end" dy="8">${escapeHtml(y.title)}</text>`,
  );
  return parts;
}

/** At the right edge a label ends there: beyond it a long legend goes on. */
const anchorOf = (at: number, right: number): string => (at > right - 1 ? 'end' : 'middle');

function scaleOf({ isLog, most }: Axis, values: readonly number[], from: number, to: number): Scale {
  const [low, highest] = [Math.min(...values), Math.max(...values)];
  if (!Number.isFinite(low)) return linearScale(0, 1, from, to);
  const high = most !== undefined && most > low ? Math.min(most, highest) : highest;
  return isLog ? logScale(low, high, from, to) : linearScale(low, high, from, to);
}
