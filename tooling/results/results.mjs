// `pnpm results`: writes the tables and charts of docs/ from docs/results/*.json.
// `pnpm results import NAME#TABLE < printed.md`: takes the first table that a benchmark printed into docs/results/NAME.json,
// then writes the pages. Device, versions, date and commands are edited there by hand.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root, run } from '../scripts/run.mjs';
import { staleResults } from './pages.mjs';
import { tableOf } from './table.mjs';

const [command, target = ''] = process.argv.slice(2);
if (command === 'import') {
  const [name, table] = target.split('#');
  if (!name || !table) throw new Error('Usage: pnpm results import NAME#TABLE < printed.md');
  const file = join(root, 'docs', 'results', `${name}.json`);
  const result = JSON.parse(readFileSync(file, 'utf8'));
  result.tables[table] = tableOf(readFileSync(0, 'utf8'));
  writeFileSync(file, JSON.stringify(result));
  run('biome', ['format', '--write', file]);
}
for (const { file, text } of staleResults(root)) {
  writeFileSync(join(root, file), text);
  console.log(`written: ${file}`);
}
