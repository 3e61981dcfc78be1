export { OnnxRuntimeBackend } from './backend.js';
export { createOnnxRuntimeBackend, type OnnxRuntimeOptions } from './create.js';
export type { OnnxNode } from './graph/node.js';
export type { OrtModule, OrtSession, OrtTensor } from './runtime/ort.js';
export type { SessionStatistics } from './runtime/sessions.js';
