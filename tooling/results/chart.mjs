// A bar chart as SVG, legible on light and on dark pages.
import { cellText } from './table.mjs';

/**
 * Bars in groups, taken from a table in one of two ways. A wide table has a row for each group and a column for each
 * bar: `rows` and `bars` name those to draw, with their labels. A long table has a row for each bar: `group`, `label`
 * and `value` name columns, and `bars` the values of `label` to draw.
 *
 * @typedef {object} Chart
 * @property {string} file
 * @property {string} title
 * @property {string} unit
 * @property {string} table
 * @property {Record<string, string>} bars
 * @property {string[]} ours bars in the colour of this project
 * @property {Record<string, string>} [rows]
 * @property {[column: string, unit: string]} [group]
 * @property {string} [label]
 * @property {string} [value]
 */

/** @typedef {{ name: string, bars: { name: string, value: number, text: string, isOurs: boolean }[] }} Group */

const WIDTH = 720;
const LABELS = 200;
const BAR = 18;
const STEP = 24;
const GROUP_GAP = 34;
const TOP = 58;
/** Room for the number after the longest bar. */
const NUMBERS = 70;

const style = `
  .card { fill: #ffffff; stroke: #d0d7de; } text { fill: #1f2328; font: 13px system-ui, sans-serif; }
  .title { font-weight: 600; font-size: 15px; } .note { fill: #59636e; } .group { font-weight: 600; }
  .ours { fill: #1a7f37; } .other { fill: #8c959f; }
  @media (prefers-color-scheme: dark) {
    .card { fill: #151b23; stroke: #3d444d; } text { fill: #f0f6fc; } .note { fill: #9198a1; }
    .ours { fill: #3fb950; } .other { fill: #656c76; }
  }`;

/**
 * @param {Chart} chart
 * @param {{ device: string, date: string, tables: Record<string, import('./table.mjs').Table> }} result
 * @returns {string}
 */
export function chartSvg(chart, { device, date, tables }) {
  const table = tables[chart.table];
  if (!table) throw new Error(`${chart.file}: there is no table ${chart.table}`);
  const groups = chart.rows ? wideGroups(chart, table) : longGroups(chart, table);
  const largest = Math.max(...groups.flatMap(({ bars }) => bars.map(({ value }) => value)));
  const scale = (WIDTH - LABELS - NUMBERS) / largest;
  /** @type {string[]} */
  const parts = [];
  let y = TOP;
  for (const { name, bars } of groups) {
    parts.push(`<text class="group" x="16" y="${y + 14}">${escape(name)}</text>`);
    y += STEP;
    for (const bar of bars) {
      const width = Math.max(1, Math.round(bar.value * scale));
      parts.push(
        `<text x="${LABELS - 8}" y="${y + 14}" text-anchor="end">${escape(bar.name)}</text>`,
        `<rect class="${bar.isOurs ? 'ours' : 'other'}" x="${LABELS}" y="${y}" width="${width}" height="${BAR}" rx="2"/>`,
        `<text x="${LABELS + width + 6}" y="${y + 14}">${bar.text}</text>`,
      );
      y += STEP;
    }
    y += GROUP_GAP - STEP;
  }
  const height = y + 24;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${escape(`${chart.title}: ${chart.unit}`)}">`,
    `<style>${style}\n</style>`,
    `<rect class="card" x="0.5" y="0.5" width="${WIDTH - 1}" height="${height - 1}" rx="6"/>`,
    `<text class="title" x="16" y="26">${escape(chart.title)}</text>`,
    `<text class="note" x="16" y="45">${escape(chart.unit)}</text>`,
    ...parts,
    `<text class="note" x="16" y="${height - 12}">${escape(`${device.split(' (')[0]}, ${date}`)}</text>`,
    '</svg>',
    '',
  ].join('\n');
}

/**
 * @param {Chart} chart
 * @param {import('./table.mjs').Table} table
 * @returns {Group[]}
 */
function wideGroups(chart, { columns, rows }) {
  return Object.entries(chart.rows ?? {}).map(([rowName, name]) => {
    const row = rows.find(([first]) => String(first) === rowName);
    if (!row) throw new Error(`${chart.file}: no row is called ${rowName}`);
    const bars = Object.keys(chart.bars).map((column) => {
      const at = columns.findIndex((each) => each.name === column);
      return barOf(chart, column, row[at], columns[at]?.digits);
    });
    return { name, bars };
  });
}

/**
 * @param {Chart} chart
 * @param {import('./table.mjs').Table} table
 * @returns {Group[]}
 */
function longGroups(chart, { columns, rows }) {
  const at = (/** @type {string | undefined} */ name) => {
    const found = columns.findIndex((each) => each.name === name);
    if (found < 0) throw new Error(`${chart.file}: no column is called ${name}`);
    return found;
  };
  const [group, label, value] = [at(chart.group?.[0]), at(chart.label), at(chart.value)];
  return [...new Set(rows.map((row) => row[group]))].map((key) => ({
    name: cellText(key) + (chart.group?.[1] ?? ''),
    bars: rows
      .filter((row) => row[group] === key && Object.hasOwn(chart.bars, String(row[label])))
      .map((row) => barOf(chart, String(row[label]), row[value], columns[value]?.digits)),
  }));
}

/**
 * @param {Chart} chart
 * @param {string} key
 * @param {string | number | null | undefined} value
 * @param {number} [digits]
 */
function barOf(chart, key, value, digits) {
  if (typeof value !== 'number') throw new Error(`${chart.file}: ${key} is '${value}', not a number`);
  const name = chart.bars[key] ?? key;
  return { name, value, text: cellText(value, digits), isOurs: chart.ours.includes(key) };
}

/** @param {string} text */
function escape(text) {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
}
