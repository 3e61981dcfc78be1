// Makes a folder for a machine with nothing but Node: the whole program as one file, packed rows beside it, and the
// commands to run there. `npm install webgpu` in the folder is all that is needed.
//   node apps/lra-bench/schedulers/gpu-bundle.mjs --out bundle [--data DIR,DIR]
import { copyFileSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { bundle } from '../../../tooling/gpu-machine/bundle.mjs';

const { values } = parseArgs({ options: { out: { type: 'string' }, data: { type: 'string' } } });
if (values.out === undefined) {
  console.error(
    'Usage: node gpu-bundle.mjs --out DIR [--data DIR,DIR]: folders with packed rows (pnpm lra generate)',
  );
  process.exit(2);
}
const { out } = values;
mkdirSync(join(out, 'data'), { recursive: true });
const source = (path) => fileURLToPath(new URL(`../src/${path}`, import.meta.url));
writeFileSync(join(out, 'lra.mjs'), await bundle(source('gpu-main.ts'), { platform: 'node' }));
// The threads of `generate`, looked for beside the program.
writeFileSync(
  join(out, 'rows-worker.js'),
  await bundle(source('sources/rows-worker.ts'), { platform: 'node' }),
);
writeFileSync(join(out, 'package.json'), '{ "type": "module", "private": true, "version": "0.0.0" }\n');
for (const folder of values.data?.split(',') ?? []) {
  const rows = readdirSync(folder).filter((name) => /\.rows(\.gz)?$/.test(name));
  if (rows.length === 0) throw new Error(`${folder} has no packed rows`);
  for (const name of rows) copyFileSync(join(folder, name), join(out, 'data', name));
}
