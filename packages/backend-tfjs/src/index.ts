export { TfjsBackend } from './backend.js';
export { createTfjsBackend, type TfjsOptions } from './create.js';
export type { DeviceReport } from './doctor/device.js';
export {
  type DoctorOptions,
  type DoctorReport,
  doctor,
  type EngineReport,
  type PeerReport,
} from './doctor/doctor.js';
export type { DoctorProblem, DoctorProblemCode } from './doctor/problems.js';
export { type Engine, engineOf } from './engine/engine.js';
export { fromTf, toTf } from './native.js';
export type { TfjsTensor } from './tensor.js';
export type { Tf, TfTensor } from './tf.js';
