import { gpuCases } from './gpu-cases.js';
import { describeOnSoftwareGpu } from './software-gpu.js';

await describeOnSoftwareGpu('tfjs, webgpu', await gpuCases('webgpu'));
