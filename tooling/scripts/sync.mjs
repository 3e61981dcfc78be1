// `pnpm sync`: writes what follows from the packages into tsconfig.json, tsconfig.build.json and the packages' own
// configurations and manifests, and the repository's address into the release workflow. Run it after adding a package, a
// dependency or an entry point.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { staleFiles } from '../checks/workspace.mjs';
import { root } from './run.mjs';

for (const { file, wanted } of staleFiles(root)) {
  const text = typeof wanted === 'string' ? wanted : `${JSON.stringify(wanted, null, 2)}\n`;
  writeFileSync(join(root, file), text);
  console.log(`written: ${file}`);
}
