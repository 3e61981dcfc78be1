// `pnpm test`: builds every package, then runs every test of the workspace in one vitest run with one summary.
import { build, run } from './run.mjs';

// Tests run from source, so they can tell something even where the types are wrong; only a few need what is built.
const built = build();
const passed = run('vitest', ['run', ...process.argv.slice(2)]) === 0;
if (!built) console.error('The tests ran, but the build failed; see the first errors above.');
process.exit(built && passed ? 0 : 1);
