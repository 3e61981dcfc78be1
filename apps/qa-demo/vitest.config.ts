import { fileURLToPath } from 'node:url';
import { packageTests, testsOfBuiltCode } from '../../tooling/vitest/src/preset.ts';
import { softwareGpuTests } from '../../tooling/vitest/src/software-gpu.ts';

const here = (name: string): string => fileURLToPath(new URL(`test/${name}.ts`, import.meta.url));

/** Commands that run in the process of a test have their engine there too: only built code can start another. */
const alias = [
  { find: /^.*\/engine-child\.js$/, replacement: here('engine-here') },
  { find: /^.*\/inspect-child\.js$/, replacement: here('inspect-here') },
];

// The dynamic linker reads the paths of the software GPU when a worker starts, so they cannot be set in a test.
export default packageTests('qa-demo', { ...softwareGpuTests(), ...testsOfBuiltCode, alias });
