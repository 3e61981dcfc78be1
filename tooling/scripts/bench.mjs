// `pnpm bench <name> [--backend <backend>] ...`: builds what changed, compiles `bench/<name>.ts` of the backend's
// package (or of the only package that has one) and runs it. Benches import packages by name, as a user would, so
// that what is measured is what is built.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { workspacePackages } from '../checks/dependency-rule.mjs';
import { buildOrExit, onStderr, root, run } from './run.mjs';

const [name, ...rest] = process.argv.slice(2);
const at = rest.indexOf('--backend');
const backend = at >= 0 ? rest[at + 1] : undefined;

const packages = workspacePackages(root);
const withBench = packages.filter((each) => name && existsSync(join(each.folder, 'bench', `${name}.ts`)));
const found = backend ? withBench.filter((each) => each.short === backend) : withBench;
const [own] = found;
if (!name || !own || found.length > 1) {
  console.error('Usage: pnpm bench <name> [--backend <backend>] [options of that benchmark]');
  if (name)
    console.error(
      `${found.length === 0 ? 'No' : 'More than one'} package has bench/${name}.ts for this call.`,
    );
  process.exit(2);
}

buildOrExit();
const generated = join(own.folder, '.tsbuild');
mkdirSync(generated, { recursive: true });
const config = join(generated, 'bench.tsconfig.json');
writeFileSync(
  config,
  JSON.stringify({
    extends: relative(generated, join(root, 'tooling', 'tsconfig', 'bench.json')),
    compilerOptions: { rootDir: '../bench', outDir: '../.bench' },
    include: ['../bench'],
  }),
);
const status = run('tsc', ['-p', config], { stdio: [...onStderr] });
if (status !== 0) process.exit(status);
process.exit(run(process.execPath, [join(own.folder, '.bench', `${name}.js`), ...rest]));
