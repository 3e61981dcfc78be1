// `pnpm lra <command>`: builds what changed, then runs the Long Range Arena command line.
import { join } from 'node:path';
import { buildOrExit, root, run } from './run.mjs';

buildOrExit();
const cli = join(root, 'apps', 'lra-bench', 'dist', 'cli.js');
// INIT_CWD is where the user called pnpm, so that relative file names mean what the user typed.
process.exit(
  run(process.execPath, [cli, ...process.argv.slice(2)], { cwd: process.env.INIT_CWD ?? process.cwd() }),
);
