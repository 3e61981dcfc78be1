// `pnpm test [--all] [words for vitest]`: builds every package, then runs the tests of the workspace in one vitest run
// with one summary. Without `--all` the slow ones, listed in tooling/vitest/src/slow-files.ts, are left out and counted.
import { build, run } from './run.mjs';

const words = process.argv.slice(2).filter((word) => word !== '--');
const isAll = words.includes('--all');
const args = words.filter((word) => word !== '--all');

// Tests run from source, so they are useful even where the types are wrong; only a few need the build.
const built = build();
const env = { TOPK_BUILT: '1', ...(isAll && { TOPK_REQUIRE_THOROUGH: '1' }) };
const passed = run('vitest', ['run', ...args], { env }) === 0;
if (!built) console.error('The tests ran, but the build failed; see the first errors above.');
process.exit(built && passed ? 0 : 1);
