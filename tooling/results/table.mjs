/**
 * @typedef {object} Table
 * @property {{ name: string, digits?: number }[]} columns `digits` after the point, where they are the same in all rows
 * @property {(string | number | null)[][]} rows
 */

/**
 * A cell as pages show it.
 *
 * @param {string | number | null | undefined} value
 * @param {number} [digits]
 * @returns {string}
 */
export function cellText(value, digits) {
  if (value === null || value === undefined) return '';
  if (typeof value === 'string') return value;
  if (value !== 0 && Math.abs(value) < 1e-4) return String(value);
  const places = digits === undefined ? {} : { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return value.toLocaleString('en-US', { maximumFractionDigits: 6, ...places });
}

/** @param {Table} table */
export function tableMarkdown({ columns, rows }) {
  const line = (/** @type {string[]} */ cells) => `| ${cells.join(' | ')} |`;
  const isNumber = columns.map((_, i) => rows.every((row) => typeof row[i] !== 'string'));
  return [
    line(columns.map(({ name }) => name)),
    `|${isNumber.map((right) => (right ? '---:' : '---')).join('|')}|`,
    ...rows.map((row) => line(columns.map(({ digits }, i) => cellText(row[i], digits)))),
  ].join('\n');
}

/**
 * Columns and rows of a printed Markdown table, the first in the text. Cells that are numbers become numbers.
 *
 * @param {string} markdown
 * @returns {Table}
 */
export function tableOf(markdown) {
  const lines = markdown.split('\n').filter((line) => line.startsWith('|'));
  const cells = lines.map((line) =>
    line
      .replace(/^\||\|\s*$/g, '')
      .split('|')
      .map((cell) => cell.trim()),
  );
  const [names = [], , ...rows] = cells;
  if (names.length === 0 || rows.length === 0) throw new Error('there is no table in what was given');
  return {
    columns: names.map((name, i) => {
      const digits = new Set(rows.map((row) => digitsOf(row[i] ?? '')).filter((each) => each !== undefined));
      const [only] = digits;
      return digits.size === 1 && only ? { name, digits: only } : { name };
    }),
    rows: rows.map((row) => names.map((_, i) => cellValue(row[i] ?? ''))),
  };
}

const plainNumber = /^-?\d[\d,]*(?:\.(\d+))?(?:e-?\d+)?$/;

/** @param {string} text */
function cellValue(text) {
  if (text === '') return null;
  return plainNumber.test(text) ? Number(text.replaceAll(',', '')) : text;
}

/** @param {string} text */
function digitsOf(text) {
  return text.includes('e') ? undefined : plainNumber.exec(text)?.[1]?.length;
}
