import { escapeHtml } from './escape-html.js';

/** Okabe and Ito's colours, which most people can tell apart. */
export const seriesColours: readonly string[] = [
  '#0072b2',
  '#d55e00',
  '#009e73',
  '#cc79a7',
  '#e69f00',
  '#56b4e9',
];

/** What stands behind and between the marks of a drawing. */
export interface Ground {
  /** Of axes. */
  readonly line: string;
  /** Of text beside the drawing. */
  readonly soft: string;
  /** Behind everything. */
  readonly card: string;
}

/** Literal colours: not all programs that show SVG files know custom properties. */
const light: Ground = { line: '#d0d7de', soft: '#59636e', card: '#ffffff' };
const dark: Ground = { line: '#3d444d', soft: '#9198a1', card: '#151b23' };

/** Axes, levels and the text beside them. */
export function axisStyle({ line, soft }: Pick<Ground, 'line' | 'soft'>): string {
  return `
  svg .axis { stroke: ${line}; } svg .level { stroke: ${soft}; stroke-dasharray: 2 3; }
  svg text.soft { fill: ${soft}; font-size: 11px; }`;
}

/** A drawing as a file. All but the texts are SVG and CSS, inserted as they are. */
export interface ChartFile {
  readonly title: string;
  /** For screen readers. */
  readonly description: string;
  readonly width: number;
  readonly height: number;
  /** Rules that are the same in light and in dark. */
  readonly style: string;
  /** Rules with colours of the ground. Default: none besides those of axes. */
  readonly styleOn?: (ground: Ground) => string;
  /** Before the card: clip paths. */
  readonly definitions?: string;
  readonly body: string;
}

/** An SVG file on a card, which follows the reader's light or dark colours. */
export function chartFile({
  title,
  description,
  width,
  height,
  style,
  styleOn = () => '',
  definitions = '',
  body,
}: ChartFile): string {
  const on = (ground: Ground): string => `${axisStyle(ground)}${styleOn(ground)}`;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeHtml(description)}">
<title>${escapeHtml(title)}</title>
<style>${style}${on(light)}
  .card { fill: ${light.card}; stroke: ${light.line}; } text { fill: #1f2328; font: 13px system-ui, sans-serif; }
  .title { font-weight: 600; }
  @media (prefers-color-scheme: dark) {
    .card { fill: ${dark.card}; stroke: ${dark.line}; } text { fill: #f0f6fc; }${on(dark)}
  }
</style>
${definitions}<rect class="card" x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="6"/>
${body}
</svg>
`;
}
