import { axisStyle, chartFile, type Ground, seriesColours } from './chart-file.js';
import { escapeHtml } from './escape-html.js';
import { logScaleOver, type Scale, tickText } from './scale.js';

/** A stretch of the axis. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

/** What a row has in one lane: bars where something is true, over a thin track where it is known. */
export interface SpanLane {
  readonly known: Span;
  readonly spans: readonly Span[];
  /** Ends of bars that are marked with a number. */
  readonly marks: readonly { readonly at: number; readonly text: string }[];
}

export interface SpanRow {
  readonly name: string;
  /** As many as the chart has lanes; undefined where nothing is known. */
  readonly lanes: readonly (SpanLane | undefined)[];
}

export interface SpanChart {
  readonly title: string;
  readonly xTitle: string;
  /** Ascending, at least two above 0: the axis goes from the first to the last, logarithmic. */
  readonly ticks: readonly number[];
  /** In each row from the top: what the bars say, and a class in the style for their colour. Default: by its place. */
  readonly lanes: readonly { readonly name: string; readonly className?: string }[];
  /** What a track without a bar says. */
  readonly rest: string;
  readonly rows: readonly SpanRow[];
}

/** Sizes of a drawing, in its units. */
interface Frame {
  /** Long names make it wider. */
  readonly width: number;
  readonly edge: number;
  /** Room for a letter of a name. */
  readonly letter: number;
  /** Of the first line of the legend. */
  readonly top: number;
}

/** Narrow enough for a phone. */
const onPage: Frame = { width: 480, edge: 0, letter: 6.6, top: 12 };
/** As wide as a column of text, with the title above. */
const inFile: Frame = { width: 760, edge: 16, letter: 7.4, top: 48 };

/** Names end before `left`, with room for a number; the axis goes from `left` to `right`. */
interface Layout extends Frame {
  readonly left: number;
  readonly right: number;
}

const PLOT = 260;
const LANE = 12;
const GAP = 7;
const BAR = 7;
const LEGEND = 18;
/** Room for a digit of a number, which is small. */
const DIGIT = 6.4;
/** Of a mark, with its line. */
const RADIUS = 4;
/** Of a bar or track at a single value. */
const DOT = 5;

/** Rows of bars over one axis, as one SVG with a legend. Its description repeats what they show. */
export function spanChart(chart: SpanChart): string {
  const layout = layoutOf([chart], onPage);
  const { body, bottom } = drawing(chart, layout);
  return `<svg viewBox="0 0 ${layout.width} ${bottom}" role="img" aria-label="${escapeHtml(described(chart))}"><title>${escapeHtml(chart.title)}</title>
${body}
</svg>`;
}

/** The style that span charts need, besides the colours of their classes. */
export const spanChartStyle: string = `${axisStyle({ line: 'var(--line)', soft: 'var(--soft)' })}${styleOn({ soft: 'var(--soft)', card: 'var(--page)' })}`;

/** Charts one below the other, as one SVG file for light and dark pages. Its description repeats what they show. */
export function spanChartFile(title: string, charts: readonly SpanChart[]): string {
  const layout = layoutOf(charts, inFile);
  let height = 0;
  const panels = charts.map((chart) => {
    const top = height;
    const { body, bottom } = drawing(chart, layout);
    height += bottom + inFile.edge;
    return `<g transform="translate(0 ${top})"><text class="title" x="${inFile.edge}" y="24">${escapeHtml(chart.title)}</text>
${body}
</g>`;
  });
  // Titles are heavier than names.
  const letters = Math.max(0, ...charts.map((chart) => chart.title.length));
  return chartFile({
    title,
    description: [`${title}.`, ...charts.map(described)].join(' '),
    width: Math.max(layout.width, Math.ceil(2 * inFile.edge + letters * (inFile.letter + 0.6))),
    height,
    style: `\n${seriesColours.map((colour, at) => `  .series-${at + 1} { color: ${colour}; }`).join('\n')}`,
    styleOn,
    body: panels.join('\n'),
  });
}

/** Every other lane has hollow bars, which can be told apart without colours. */
function styleOn({ soft, card }: Pick<Ground, 'soft' | 'card'>): string {
  return `
  svg .track { fill: ${soft}; opacity: 0.45; } svg .span { fill: currentColor; stroke: currentColor; }
  svg .span.hollow { fill: ${card}; stroke-width: 1.5; } svg .mark { fill: ${card}; stroke: currentColor; stroke-width: 2; }
  svg .behind { fill: ${card}; } svg text.near { font-size: 10px; }`;
}

function layoutOf(charts: readonly SpanChart[], frame: Frame): Layout {
  const { edge, letter } = frame;
  const longest = (texts: readonly string[]): number => Math.max(0, ...texts.map(({ length }) => length));
  const names = longest(charts.flatMap(({ xTitle, rows }) => [xTitle, ...rows.map(({ name }) => name)]));
  const numbers = charts.flatMap(({ ticks, rows }) => [...ticks.map(tickText), ...rows.flatMap(marksOf)]);
  const room = Math.ceil(Math.max(0, ...numbers.map((text) => widthOf(text)))) + 2 * RADIUS + 4;
  const left = edge + Math.ceil(names * letter) + room;
  const width = Math.max(frame.width, left + PLOT + room + edge);
  return { ...frame, width, left, right: width - edge - room };
}

/** Of a number: its commas and points are half as wide as its digits. */
function widthOf(text: string): number {
  return (text.length - 0.5 * text.replace(/[^,.]/g, '').length) * DIGIT;
}

function marksOf({ lanes }: SpanRow): readonly string[] {
  return lanes.flatMap((lane) => lane?.marks.map(({ text }) => text) ?? []);
}

function drawing(chart: SpanChart, layout: Layout): { readonly body: string; readonly bottom: number } {
  const { lanes, rows, xTitle } = chart;
  const { edge, left, right } = layout;
  const across = logScaleOver(chart.ticks, left, right);
  const legend = legendOf(chart, layout);
  const axis = legend.bottom + 6;
  const top = axis + 8;
  const step = lanes.length * LANE + GAP;
  const bottom = top + rows.length * step;
  const parts = [...legend.parts, `<text class="soft" x="${edge}" y="${axis}">${escapeHtml(xTitle)}</text>`];
  const labelled = labelledTicks(across);
  for (const tick of across.ticks) {
    const at = across.at(tick).toFixed(1);
    parts.push(`<line class="axis" x1="${at}" x2="${at}" y1="${axis + 4}" y2="${bottom}"/>`);
    if (labelled.includes(tick))
      parts.push(`<text class="soft" x="${at}" y="${axis}" text-anchor="middle">${tickText(tick)}</text>`);
  }
  for (const [index, row] of rows.entries()) {
    const y = top + index * step + GAP / 2;
    parts.push(`<text x="${edge}" y="${y + (step - GAP) / 2 + 4}">${escapeHtml(row.name)}</text>`);
    for (const [at, lane] of row.lanes.entries()) {
      if (lane !== undefined)
        parts.push(...laneParts(lane, kindOf(chart, at), across, y + (at + 0.5) * LANE));
    }
  }
  return { body: parts.join('\n'), bottom };
}

/** Classes of the bars of a lane. */
function kindOf({ lanes }: SpanChart, at: number): string {
  const colour = escapeHtml(lanes[at]?.className ?? `series-${(at % seriesColours.length) + 1}`);
  return at % 2 === 1 ? `hollow ${colour}` : colour;
}

/** In lines, as many entries in each as it has room for. */
function legendOf(
  chart: SpanChart,
  { edge, width, letter, top }: Layout,
): { readonly parts: readonly string[]; readonly bottom: number } {
  const swatch = 24;
  const entries = [
    ...chart.lanes.map(({ name }, at) => ({ name, kind: `span ${kindOf(chart, at)}`, height: BAR })),
    { name: chart.rest, kind: 'track', height: 2 },
  ];
  let [x, y] = [edge, top];
  const parts = entries.flatMap(({ name, kind, height }) => {
    const needed = swatch + 6 + name.length * letter;
    if (x > edge && x + needed > width - edge) [x, y] = [edge, y + LEGEND];
    const at = x;
    x += Math.ceil(needed) + 14;
    return [
      `<rect class="${kind}" x="${at + 1}" y="${y - 4 - height / 2}" width="${swatch - 2}" height="${height}"/>`,
      `<text x="${at + swatch + 6}" y="${y}">${escapeHtml(name)}</text>`,
    ];
  });
  return { parts, bottom: y + LEGEND };
}

/** The first and the last, and those between that do not run into others. */
function labelledTicks({ at, ticks }: Scale): readonly number[] {
  const isApart = (a: number, b: number): boolean =>
    Math.abs(at(a) - at(b)) > (widthOf(tickText(a)) + widthOf(tickText(b))) / 2 + 2 * DIGIT;
  const last = ticks.at(-1) as number;
  const labelled: number[] = [];
  for (const tick of ticks.slice(0, -1)) {
    const before = labelled.at(-1);
    if (before === undefined || (isApart(before, tick) && isApart(tick, last))) labelled.push(tick);
  }
  return [...labelled, last];
}

function laneParts(lane: SpanLane, kind: string, across: Scale, y: number): readonly string[] {
  const rect = (className: string, { from, to }: Span, height: number): string => {
    const [start, end] = [across.at(from), across.at(to)];
    const width = from === to ? DOT : end - start;
    const x = (start + end - width) / 2;
    return `<rect class="${className}" x="${x.toFixed(1)}" y="${y - height / 2}" width="${width.toFixed(1)}" height="${height}"/>`;
  };
  return [
    rect('track', lane.known, 2),
    ...lane.spans.map((span) => rect(`span ${kind}`, span, BAR)),
    ...lane.marks.map(
      ({ at, text }) =>
        `<circle class="mark ${kind}" cx="${across.at(at).toFixed(1)}" cy="${y}" r="3"><title>${escapeHtml(text)}</title></circle>`,
    ),
    ...numbersOf(lane, across).map(
      ({ x, width, text, anchor }) =>
        `<rect class="behind" x="${(anchor === 'end' ? x - width - 1 : x - 1).toFixed(1)}" y="${y - 5}" width="${(width + 2).toFixed(1)}" height="10"/><text class="near" x="${x.toFixed(1)}" y="${y + 3.5}" text-anchor="${anchor}">${escapeHtml(text)}</text>`,
    ),
  ];
}

/** A number beside its mark: at the left of it, its text ends at `x`. */
interface NumberAt {
  readonly x: number;
  readonly width: number;
  readonly text: string;
  readonly anchor: 'start' | 'end';
}

/**
 * Numbers stand beside their marks, over the track if there is room, else over the bar. One that has no room there
 * either is left out: pointing at its mark shows it, and the description names it.
 */
function numbersOf({ spans, marks }: SpanLane, across: Scale): readonly NumberAt[] {
  const taken = marks.map(({ at }) => [across.at(at) - RADIUS, across.at(at) + RADIUS] as const);
  return marks.flatMap(({ at, text }) => {
    const [middle, width] = [across.at(at), widthOf(text)];
    const before = { x: middle - RADIUS - 2, anchor: 'end' as const };
    const after = { x: middle + RADIUS + 2, anchor: 'start' as const };
    const isStart = spans.some(({ from }) => from === at);
    for (const [tried, { x, anchor }] of (isStart ? [before, after] : [after, before]).entries()) {
      // Of the bar something has to be seen beyond the number.
      const reach = width + (tried === 0 ? 0 : 2 * DIGIT);
      const [low, high] = anchor === 'end' ? [x - reach, x] : [x, x + reach];
      if (taken.some(([from, to]) => low < to && from < high)) continue;
      taken.push([low, high]);
      return [{ x, width, text, anchor }];
    }
    return [];
  });
}

function described({ title, xTitle, lanes, rows }: SpanChart): string {
  const spoken = rows.map((row) => {
    const said = row.lanes.flatMap((lane, at) =>
      lane === undefined ? [] : [`${lanes[at]?.name} ${inWords(lane)}`],
    );
    return `${row.name}: ${said.join(', ')}`;
  });
  return `${title}, by ${xTitle}. ${spoken.join('; ')}.`;
}

function inWords({ known, spans, marks }: SpanLane): string {
  const number = (value: number): string => marks.find(({ at }) => at === value)?.text ?? tickText(value);
  const stretch = ({ from, to }: Span): string =>
    from === to ? `at ${number(from)}` : `from ${number(from)} to ${number(to)}`;
  return spans.length === 0 ? `nowhere ${stretch(known)}` : spans.map(stretch).join(' and ');
}
