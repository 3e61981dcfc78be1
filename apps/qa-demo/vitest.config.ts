import { packageTests, testsOfBuiltCode } from '../../tooling/vitest/src/preset.ts';
import { softwareGpuTests } from '../../tooling/vitest/src/software-gpu.ts';

// The dynamic linker reads the paths of the software GPU when a worker starts, so they cannot be set in a test.
// Some files replace a module (`vi.mock`), which others that share their process would get as well.
export default packageTests('qa-demo', { ...softwareGpuTests(), ...testsOfBuiltCode, isolate: true });
