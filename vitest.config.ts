import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';
import { SlowestFirst } from './tooling/vitest/src/slowest-first.ts';

export default defineConfig({
  test: {
    // The default leaves a core to the main process, which next to nothing is left for on two.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    sequence: { sequencer: SlowestFirst },
    projects: ['packages/*', 'apps/*', 'examples/*', 'tooling/*/vitest.config.ts'],
    reporters: [
      'default',
      './tooling/vitest/src/summary-reporter.ts',
      ['json', { outputFile: 'reports/vitest.json' }],
    ],
  },
});
