export { WebGpuBackend } from './backend.js';
export { createWebGpuBackend, type WebGpuOptions, type WebGpuWarning } from './create.js';
export { type AcquireOptions, acquireDevice } from './runtime/acquire.js';
