import { optional, testExamples } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { afterAll, vi } from 'vitest';

const software = softwareGpuAvailability();

// Node as users find it: the GPU comes from the package `webgpu`, not from the tests' own navigator.gpu.
vi.stubGlobal('navigator', undefined);
afterAll(() => vi.unstubAllGlobals());

if (software.available) testExamples(new URL('../README.md', import.meta.url));
else optional('examples of README.md', software, () => {});
