import type {
  AttentionBackwardInputs,
  AttentionGradients,
  AttentionInputs,
  AttentionOutputs,
  AttentionRequest,
} from './attention.js';
import type { ElementwiseInputs, ElementwiseOutputs, ElementwiseRequest } from './elementwise.js';
import type {
  FeedForwardBackwardInputs,
  FeedForwardInputs,
  FeedForwardOutputs,
  FeedForwardRequest,
} from './feed-forward.js';
import type { DeviceLimits } from './limits.js';
import type { NormBackwardInputs, NormGradients, NormInputs, NormOutputs, NormRequest } from './norm.js';

/** What a path says of itself, one fact a line of `explain()`: the variant, how it selects. */
export type Facts = Readonly<Record<string, string>>;

/** Why a request is not taken, as sentences; never empty. */
export interface Refused {
  readonly refusals: readonly string[];
}

/** What planning asks of a way to run a request. */
export interface PreparedBytes {
  /** All transient bytes of a chunk of that many queries (tokens), at the worst moment. */
  scratchBytes(chunk: number): number;
  /** The largest single transient buffer of such a chunk, held against `maxBufferBytes`. Default: not checked. */
  largestBytes?(chunk: number): number;
  /**
   * The chunk it runs best with, for operations that divide their work themselves; `scratchBytes` then says what a
   * smaller one saves. Default: the largest whose scratch stays within `targetScratchBytes`.
   */
  readonly preferredChunk?: number | undefined;
}

/** A request that is taken. Depends on the request and the limits alone: it may be kept, and run any number of times. */
export interface Prepared<Inputs, Outputs> extends PreparedBytes {
  /** What runs and what it was chosen by. Asked by `explain()` alone. */
  describe?(): Facts;
  /** The outputs by role, of the shapes that the request says. */
  run(inputs: Inputs, chunk: number): Outputs;
}

/**
 * An operation that a backend may run as a whole instead of core's composed version. Asked once per call and pass:
 * `prepare` answers why it does not take the request, or with what runs it. Pure and cheap: nothing is allocated.
 * `limits` are those that core plans with: the backend's own, unless somebody narrowed them.
 */
export interface FusedOperation<Request, Inputs, Outputs> {
  prepare(request: Request, limits: DeviceLimits): Prepared<Inputs, Outputs> | Refused;
}

/** Any fused operation: what is known of one before its definition is at hand. */
export type AnyFusedOperation = FusedOperation<never, never, object>;

/**
 * The operations that a backend runs as a whole, by the name of their definition, and by that name with `Backward` for their
 * backward pass. Open: an operation that is defined elsewhere looks itself up here (see `defineOperation`).
 */
export interface FusedOperations<T> {
  readonly attention?: FusedOperation<AttentionRequest, AttentionInputs<T>, AttentionOutputs<T>>;
  /** Gradients of q, k, v and, where they were given, of the bias and the relative table. */
  readonly attentionBackward?: FusedOperation<
    AttentionRequest,
    AttentionBackwardInputs<T>,
    AttentionGradients<T>
  >;
  readonly feedForward?: FusedOperation<FeedForwardRequest, FeedForwardInputs<T>, FeedForwardOutputs<T>>;
  /** Gradients in the roles of the inputs. With it, and only then, training runs `feedForward` with `request.saves`. */
  readonly feedForwardBackward?: FusedOperation<
    FeedForwardRequest,
    FeedForwardBackwardInputs<T>,
    FeedForwardInputs<T>
  >;
  /** Functions of the elements of f32 tensors, in one pass. */
  readonly elementwise?: FusedOperation<ElementwiseRequest, ElementwiseInputs<T>, ElementwiseOutputs<T>>;
  /** Layer norm and RMS norm. */
  readonly norm?: FusedOperation<NormRequest, NormInputs<T>, NormOutputs<T>>;
  readonly normGradient?: FusedOperation<NormRequest, NormBackwardInputs<T>, NormGradients<T>>;
  readonly [operation: string]: AnyFusedOperation | undefined;
}

/** What a path needs for one chunk of a request. */
export interface PathBytes<Request> {
  /** All transient bytes at the worst moment. */
  scratchBytes(request: Request, chunk: number, limits: DeviceLimits): number;
  /** The largest single transient buffer. Default: not checked. */
  largestBytes?(request: Request, chunk: number, limits: DeviceLimits): number;
}

/**
 * What core's composed versions need on an engine, for one chunk and in addition to what they return. Core's own count is
 * that of an engine that frees a tensor at once; one that copies results or divides operations in other ways says so here.
 */
export interface ComposedBytes {
  readonly attention?: PathBytes<AttentionRequest>;
  readonly attentionBackward?: PathBytes<AttentionRequest>;
  readonly feedForward?: PathBytes<FeedForwardRequest>;
  readonly feedForwardBackward?: PathBytes<FeedForwardRequest>;
  readonly [operation: string]: PathBytes<never> | undefined;
}
