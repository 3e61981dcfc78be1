import { packageTests } from '../../tooling/vitest/src/preset.ts';
import { softwareGpuTests } from '../../tooling/vitest/src/software-gpu.ts';

// tfjs's WebGPU engine is tested on the software GPU, whose paths the dynamic linker reads when a worker starts.
// tfjs has one engine, one table of kernels and one set of flags in a process, which its tests change.
export default packageTests('tfjs', { ...softwareGpuTests(), isolate: true });
