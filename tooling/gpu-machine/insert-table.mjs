// node tooling/gpu-machine/insert-table.mjs gpu-table.md: puts a printed table into docs/benchmarks.md.
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const page = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'docs', 'benchmarks.md');
const [file] = process.argv.slice(2);
if (file === undefined) throw new Error('Usage: node insert-table.mjs gpu-table.md');
const table = readFileSync(file, 'utf8').trim();
const text = readFileSync(page, 'utf8');
const marks = /(<!-- gpu-table -->\n)[\s\S]*?(<!-- \/gpu-table -->)/;
if (!marks.test(text)) throw new Error(`${page} has no place for the table`);
writeFileSync(
  page,
  text.replace(marks, (_, start, end) => `${start}${table}\n${end}`),
);
