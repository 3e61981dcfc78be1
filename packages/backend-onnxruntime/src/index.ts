export { OnnxRuntimeBackend } from './backend.js';
export { createOnnxRuntimeBackend, type OnnxRuntimeOptions } from './create.js';
export {
  type DoctorOptions,
  type DoctorReport,
  doctor,
  type PeerReport,
  type ProviderReport,
} from './doctor.js';
export type { OnnxNode } from './graph/node.js';
export { fromOrt, toOrt } from './native.js';
export type { OrtModule, OrtSession, OrtTensor } from './runtime/ort.js';
export type { SessionStatistics } from './runtime/sessions.js';
