import { escapeHtml } from '@topk-attention/app-kit';

const WIDTH = 480;
const [LEFT, TOP, CELL, BELOW] = [62, 24, 22, 36];

/** Shares in per cent over two axes. */
export interface HeatMap {
  readonly title: string;
  /** Names of columns and rows, each with the title of its axis. */
  readonly x: { readonly title: string; readonly names: readonly string[] };
  readonly y: { readonly title: string; readonly names: readonly string[] };
  /** By row, then by column; undefined: not measured. */
  readonly values: readonly (readonly (number | undefined)[])[];
  /** Class in the page's style, which gives the colour of 100 %; less is paler. */
  readonly className: string;
}

/** Coloured cells, each with its number, as one SVG. Its description repeats the numbers. */
export function heatMap({ title, x, y, values, className }: HeatMap): string {
  const width = (WIDTH - LEFT) / Math.max(1, x.names.length);
  const bottom = TOP + CELL * y.names.length;
  const parts: string[] = [`<text class="soft" x="0" y="13">${escapeHtml(title)}</text>`];
  for (const [row, name] of y.names.entries()) {
    const top = TOP + row * CELL;
    parts.push(`<text x="${LEFT - 6}" y="${top + 15}" text-anchor="end">${escapeHtml(name)}</text>`);
    for (const [column] of x.names.entries()) {
      const value = values[row]?.[column];
      if (value === undefined) continue;
      const left = LEFT + column * width;
      const shade = `x="${left.toFixed(1)}" y="${top}" width="${(width - 1).toFixed(1)}" height="${CELL - 1}"`;
      parts.push(
        `<rect class="cell ${escapeHtml(className)}" ${shade} fill-opacity="${(value / 125).toFixed(3)}"/>`,
        `<text x="${(left + width / 2).toFixed(1)}" y="${top + 15}" text-anchor="middle">${Math.floor(value)}</text>`,
      );
    }
  }
  for (const [column, name] of x.names.entries()) {
    const at = (LEFT + (column + 0.5) * width).toFixed(1);
    parts.push(`<text x="${at}" y="${bottom + 14}" text-anchor="middle">${escapeHtml(name)}</text>`);
  }
  parts.push(
    `<text class="soft" x="${(LEFT + WIDTH) / 2}" y="${bottom + 31}" text-anchor="middle">${escapeHtml(x.title)}</text>`,
    `<text class="soft" x="12" y="${(TOP + bottom) / 2}" text-anchor="middle" transform="rotate(-90 12 ${(TOP + bottom) / 2})">${escapeHtml(y.title)}</text>`,
  );
  const spoken = x.names.map((name, column) => {
    const own = values.flatMap((row) => row[column] ?? []);
    return `${name}: ${own.length === 0 ? 'not measured' : own.map((value) => Math.floor(value)).join(', ')}`;
  });
  const description = escapeHtml(`${title}. By ${x.title}: ${spoken.join('; ')}.`);
  return `<svg viewBox="0 0 ${WIDTH} ${bottom + BELOW}" role="img" aria-label="${description}"><title>${escapeHtml(title)}</title>
${parts.join('\n')}
</svg>`;
}
