import { optional, testExamples } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';

const software = softwareGpuAvailability();

if (software.available) testExamples(new URL('../README.md', import.meta.url));
else optional('examples of README.md', software, () => {});
