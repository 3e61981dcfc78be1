import type { Backend, FusedOperation } from './backend.js';

/** Why one way of running a request is not taken; empty: it is. */
export interface PathReport {
  /** 'fused' for the backend's own operation, 'composed' for core's version from primitives. */
  readonly path: 'fused' | 'composed';
  readonly refusals: readonly string[];
  /** The variant of the fused operation, where it names one. */
  readonly variant?: string;
}

/** What `choosePath` says, and the plan of the path that runs. */
export interface PlannedPath<Request, Inputs, Outputs, Plan> {
  readonly fused: FusedOperation<Request, Inputs, Outputs> | undefined;
  readonly reports: readonly PathReport[];
  readonly plan: Plan;
}

/** The fused operation if it takes the request, and the report of both paths. */
export function choosePath<Request, Inputs, Outputs>(
  backend: Backend,
  operation: FusedOperation<Request, Inputs, Outputs> | undefined,
  request: Request,
): { fused: FusedOperation<Request, Inputs, Outputs> | undefined; reports: readonly PathReport[] } {
  const refusals =
    operation === undefined
      ? [`${backend.name} has no fused version of this operation`]
      : operation.refuses(request);
  const isFused = refusals.length === 0;
  const variant = isFused ? operation?.describe?.(request) : undefined;
  return {
    fused: isFused ? operation : undefined,
    reports: [
      { path: 'fused', refusals, ...(variant !== undefined && { variant }) },
      { path: 'composed', refusals: isFused ? ['the fused version takes the request'] : [] },
    ],
  };
}
