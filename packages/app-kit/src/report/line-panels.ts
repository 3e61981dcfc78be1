import { escapeHtml } from './escape-html.js';

/** A place on a line, and how far its measurements spread there. */
export interface LinePoint {
  readonly x: number;
  readonly y: number;
  readonly low: number;
  readonly high: number;
}

/** One line, with a band from `low` to `high`. */
export interface Line {
  readonly name: string;
  /** In the order of x. */
  readonly points: readonly LinePoint[];
}

/** Lines over the same axes. */
export interface LinePanel {
  readonly title: string;
  readonly xTitle: string;
  readonly yTitle: string;
  /** The axis ends here, and lines above it are cut. Default: the highest point. */
  readonly yMost?: number;
  readonly lines: readonly Line[];
}

const WIDTH = 720;
const LEFT = 56;
const RIGHT = 200;
const TOP = 44;
const PLOT = 230;
const BOTTOM = 54;
const TICKS = 5;
/** Okabe and Ito's colours, which most people can tell apart, and dashes for the others. */
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9'];
const DASHES = ['none', '7 3', '2 3', '9 3 2 3', '4 4', '12 4'];

const style = `
  .card { fill: #ffffff; stroke: #d0d7de; } text { fill: #1f2328; font: 13px system-ui, sans-serif; }
  .title { font-weight: 600; } .tick { fill: #59636e; font-size: 12px; } .grid { stroke: #d0d7de; }
  .line { fill: none; stroke-width: 1.8; } .band { opacity: 0.18; }
  @media (prefers-color-scheme: dark) {
    .card { fill: #151b23; stroke: #3d444d; } text { fill: #f0f6fc; } .tick { fill: #9198a1; } .grid { stroke: #3d444d; }
  }`;

/**
 * Lines with bands, panel below panel, as one SVG file for light and dark pages. Its description repeats where each
 * line ends, for screen readers.
 */
export function linePanels(title: string, panels: readonly LinePanel[]): string {
  const height = TOP + PLOT + BOTTOM;
  const spoken = panels.flatMap((panel) =>
    panel.lines.map((line) => `${panel.title}, ${line.name}: ${figure(line.points.at(-1)?.y)}`),
  );
  const total = Math.max(1, panels.length) * height;
  const described = escapeHtml(`${title}. ${spoken.join('; ')}.`);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${total}" role="img" aria-label="${described}">
<title>${escapeHtml(title)}</title>
<style>${style}
</style>
<rect class="card" x="0.5" y="0.5" width="${WIDTH - 1}" height="${total - 1}" rx="6"/>
${panels.map((panel, at) => `<g transform="translate(0 ${at * height})">\n${drawPanel(panel, at)}\n</g>`).join('\n')}
</svg>
`;
}

function drawPanel({ title, xTitle, yTitle, yMost, lines }: LinePanel, index: number): string {
  const points = lines.flatMap((line) => line.points);
  const [xLow, xHigh] = range(points.map(({ x }) => x));
  const [yLow, highest] = range(points.flatMap(({ low, high }) => [low, high]));
  const yHigh = yMost !== undefined && yMost > yLow ? Math.min(yMost, highest) : highest;
  const toX = (x: number): number => LEFT + ((WIDTH - LEFT - RIGHT) * (x - xLow)) / (xHigh - xLow);
  const toY = (y: number): number => TOP + PLOT - (PLOT * (y - yLow)) / (yHigh - yLow);
  const path = (places: readonly (readonly [x: number, y: number])[]): string =>
    places.map(([x, y], at) => `${at === 0 ? 'M' : 'L'}${toX(x).toFixed(1)} ${toY(y).toFixed(1)}`).join('');
  const clip = `plot-${index}`;
  const right = WIDTH - RIGHT;
  const parts = [
    `<text class="title" x="16" y="24">${escapeHtml(title)}</text>`,
    `<clipPath id="${clip}"><rect x="${LEFT}" y="${TOP}" width="${right - LEFT}" height="${PLOT}"/></clipPath>`,
    ...ticks(yLow, yHigh).map(
      (y) =>
        `<path class="grid" d="M${LEFT} ${toY(y).toFixed(1)}H${right}"/><text class="tick" text-anchor="end" x="${LEFT - 6}" y="${(toY(y) + 4).toFixed(1)}">${figure(y)}</text>`,
    ),
    ...ticks(xLow, xHigh).map(
      (x) =>
        `<text class="tick" text-anchor="middle" x="${toX(x).toFixed(1)}" y="${TOP + PLOT + 18}">${figure(x)}</text>`,
    ),
    `<text class="tick" text-anchor="middle" x="${(LEFT + right) / 2}" y="${TOP + PLOT + 38}">${escapeHtml(xTitle)}</text>`,
    `<text class="tick" x="${right + 12}" y="${TOP}">${escapeHtml(yTitle)}</text>`,
  ];
  for (const [at, { name, points: own }] of lines.entries()) {
    const [colour, dash] = [COLOURS[at % COLOURS.length], DASHES[at % DASHES.length]];
    const upper = own.map(({ x, high }) => [x, high] as const);
    const lower = own.map(({ x, low }) => [x, low] as const).reverse();
    const y = TOP + 22 + 20 * at;
    parts.push(
      `<g clip-path="url(#${clip})"><path class="band" fill="${colour}" d="${path([...upper, ...lower])}Z"/>`,
      `<path class="line" stroke="${colour}" stroke-dasharray="${dash}" d="${path(own.map((one) => [one.x, one.y]))}"/></g>`,
      `<path class="line" stroke="${colour}" stroke-dasharray="${dash}" d="M${right + 12} ${y - 4}h28"/>`,
      `<text x="${right + 46}" y="${y}">${escapeHtml(name)}</text>`,
    );
  }
  return parts.join('\n');
}

/** Of some numbers; never empty, so that it can be divided by. */
function range(values: readonly number[]): readonly [low: number, high: number] {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (!Number.isFinite(low)) return [0, 1];
  return high > low ? [low, high] : [low, low + 1];
}

/** Round numbers within a range. */
function ticks(low: number, high: number): readonly number[] {
  const rough = (high - low) / TICKS;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((one) => one * power >= rough) ?? 10);
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({ length: count }, (_, at) => (first + at) * step);
}

function figure(value: number | undefined): string {
  return value === undefined ? 'nothing' : value.toLocaleString('en-US', { maximumFractionDigits: 3 });
}
