// `pnpm test`: builds every package, then runs every test of the workspace in one vitest run with one summary.
import { build, run } from './run.mjs';

build();
process.exit(run('vitest', ['run', ...process.argv.slice(2)]));
