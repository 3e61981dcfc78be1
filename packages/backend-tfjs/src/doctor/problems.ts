/** Stable codes for what `doctor()` finds. */
export type DoctorProblemCode =
  // nothing runs
  | 'MISSING_PEER'
  | 'INVALID_TF'
  | 'NO_ENGINE'
  | 'ENGINE_NOT_READY'
  | 'ENGINE_FAILURE'
  | 'NODE_UTIL'
  | 'WRONG_RESULT'
  // it runs, but slower or less exactly than it could
  | 'UNSUPPORTED_VERSION'
  | 'NO_CUDA'
  | 'SLOW_ENGINE'
  | 'SOFTWARE_GPU'
  | 'HALF_FLOAT_TEXTURES'
  | 'LOW_PRECISION'
  | 'NO_SIMD'
  | 'ONE_THREAD';

export interface DoctorProblem {
  readonly code: DoctorProblemCode;
  /** `error`: nothing runs, or it runs wrong. `warning`: it is slower or less exact than it could be. */
  readonly severity: 'error' | 'warning';
  readonly message: string;
  /** What to do about it. */
  readonly fix: string;
}

export function error(code: DoctorProblemCode, message: string, fix: string): DoctorProblem {
  return { code, severity: 'error', message, fix };
}

export function warning(code: DoctorProblemCode, message: string, fix: string): DoctorProblem {
  return { code, severity: 'warning', message, fix };
}
