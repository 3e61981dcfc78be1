// `pnpm clean`: removes what builds make, so that nothing stale is left in dist.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { workspacePackages } from '../checks/dependency-rule.mjs';
import { root } from './run.mjs';

for (const { folder } of workspacePackages(root)) {
  for (const made of ['dist', '.tsbuild', '.bench'])
    rmSync(join(folder, made), { recursive: true, force: true });
}
rmSync(join(root, 'reports'), { recursive: true, force: true });
