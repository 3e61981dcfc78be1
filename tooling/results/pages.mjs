// Measured results and the pages that show them. `docs/results/<name>.json` holds what was measured, on what and by which
// command. A page names a table between `<!-- table: <name>#<table> -->` and `<!-- /table -->`; what stands between is
// generated, and so are the charts.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { chartSvg } from './chart.mjs';
import { tableMarkdown } from './table.mjs';

/**
 * @typedef {object} Result
 * @property {string} title
 * @property {string} date
 * @property {string} device
 * @property {string} versions
 * @property {string} setup shapes, and how it was measured
 * @property {string[]} commands
 * @property {Record<string, import('./table.mjs').Table>} tables
 * @property {import('./chart.mjs').Chart[]} [charts]
 */

const block = /(<!-- table: ([\w-]+)#([\w-]+) -->\n)([\s\S]*?)(<!-- \/table -->)/g;

/**
 * Every generated file, as it should be: pages with their tables, charts.
 *
 * @param {string} root
 * @returns {{ file: string, text: string }[]}
 */
function generatedFiles(root) {
  const results = readResults(root);
  const pages = readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .map((name) => posix.join('docs', name.replaceAll('\\', '/')))
    .filter((name) => name.endsWith('.md'))
    .map((file) => ({ file, text: pageText(readFileSync(join(root, file), 'utf8'), file, results) }));
  const charts = [...results.values()].flatMap(({ charts = [], ...result }) =>
    charts.map((chart) => ({ file: `docs/results/${chart.file}`, text: chartSvg(chart, result) })),
  );
  return [...pages, ...charts];
}

/**
 * The generated files that are missing or out of date, as they should be.
 *
 * @param {string} root
 */
export function staleResults(root) {
  return generatedFiles(root).filter(({ file, text }) => {
    const path = join(root, file);
    return !existsSync(path) || readFileSync(path, 'utf8') !== text;
  });
}

/** @param {string} root @returns {Map<string, Result>} */
function readResults(root) {
  const folder = join(root, 'docs', 'results');
  return new Map(
    readdirSync(folder)
      .filter((name) => name.endsWith('.json') && !name.endsWith('.measured.json'))
      .sort()
      .map((name) => [name.slice(0, -'.json'.length), JSON.parse(readFileSync(join(folder, name), 'utf8'))]),
  );
}

/**
 * @param {string} text
 * @param {string} file
 * @param {Map<string, Result>} results
 */
export function pageText(text, file, results) {
  return text.replace(block, (_, start, name, table, _before, end) => {
    const result = results.get(name);
    const data = result?.tables[table];
    if (!result || !data) throw new Error(`${file}: docs/results has no ${name}#${table}`);
    const target = posix.relative(posix.dirname(file), `docs/results/${name}.json`);
    const source = `${result.device}; ${result.versions}; ${result.date}. [Data and command](${target})`;
    return `${start}\n${tableMarkdown(data)}\n\n<sub>${source}</sub>\n${end}`;
  });
}
