// `pnpm fuzz [--runs N] [--seed N] [--backend NAME] [FILTER...]`: the property tests of every package (or of one
// backend) and broken files of every format, each with 10,000 trials. The seed is printed in the title of each property.
import { parseArgs } from 'node:util';
import { run } from './run.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: 'string', default: process.env.TOPK_FUZZ_RUNS ?? '10000' },
    seed: { type: 'string', default: process.env.TOPK_FUZZ_SEED ?? String(Date.now() % 2 ** 31) },
    backend: { type: 'string' },
  },
});
const filters = positionals.length > 0 ? positionals : ['propert', 'fuzz', 'mutated-graphs', 'mutations'];
// The reference backend is fuzzed by the suite's own package.
const project = values.backend === 'reference' ? 'conformance' : values.backend;
console.log(`fuzz: ${values.runs} trials a property, seed ${values.seed}`);
process.exit(
  run('vitest', ['run', ...(project ? ['--project', project] : []), ...filters], {
    env: { TOPK_FUZZ_RUNS: values.runs, TOPK_FUZZ_SEED: values.seed, TOPK_REQUIRE_THOROUGH: '1' },
  }),
);
