/// <reference types="@webgpu/types" preserve="true" />
export type { SelectionCounts } from './attention/selection-counts.js';
export { WebGpuBackend, type WebGpuStatistics } from './backend.js';
export { createWebGpuBackend, type WebGpuOptions, type WebGpuWarning } from './create.js';
export { type AdapterReport, type DoctorReport, doctor } from './doctor.js';
export { fromGpuBuffer, type GpuBufferRange, toGpuBuffer } from './native.js';
export { type AcquireOptions, acquireDevice } from './runtime/acquire.js';
export type { DeviceFacts } from './runtime/facts.js';
export type { GpuBufferTensor } from './tensor.js';
