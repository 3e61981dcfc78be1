// `pnpm sync`: writes what follows from the packages into tsconfig.json, tsconfig.build.json and the packages' own
// configurations and manifests. Run it after adding a package, a dependency or an entry point.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { staleFiles } from '../checks/workspace.mjs';
import { root } from './run.mjs';

for (const { file, wanted } of staleFiles(root)) {
  writeFileSync(join(root, file), `${JSON.stringify(wanted, null, 2)}\n`);
  console.log(`written: ${file}`);
}
