// `pnpm fuzz`: the property tests of every package, each with 10,000 cases (TOPK_FUZZ_RUNS overrides).
import { run } from './run.mjs';

const runs = process.env.TOPK_FUZZ_RUNS ?? '10000';
const args = process.argv.slice(2);
const filters = args.length > 0 ? args : ['propert', 'fuzz'];
process.exit(run('vitest', ['run', ...filters], { env: { TOPK_FUZZ_RUNS: runs } }));
