// Runs before the test files of packages that use the software GPU (see `softwareGpuTests`).
import { create, globals } from 'webgpu';

// Dawn zeroes workgroup memory; SwiftShader unrolls that, and compiles a kernel with a tile in 3 s that otherwise takes
// 0.8 s. Kernels write before they read; what memory held before is then arbitrary, which is the harder test.
// Kept for as long as the process lives, for all files that share it: Dawn crashes if this object goes before its devices.
const kept = globalThis as { softwareGpu?: GPU };
kept.softwareGpu ??= create(['enable-dawn-features=disable_workgroup_init']);
Object.assign(globalThis, globals);
Object.defineProperty(globalThis, 'navigator', {
  value: { gpu: kept.softwareGpu },
  configurable: true,
  writable: true,
});
