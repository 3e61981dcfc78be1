import { packageTests } from '../../tooling/vitest/src/preset.ts';
import { softwareGpuTests } from '../../tooling/vitest/src/software-gpu.ts';

// tfjs's WebGPU engine is tested on the software GPU, whose paths the dynamic linker reads when a worker starts.
export default packageTests('tfjs', softwareGpuTests());
