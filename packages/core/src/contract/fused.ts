import type { AdafactorInputs, AdafactorOutputs, AdafactorRequest } from './adafactor.js';
import type {
  AttentionBackwardInputs,
  AttentionGradients,
  AttentionInputs,
  AttentionOutputs,
  AttentionRequest,
} from './attention.js';
import type { CountBelowInputs, CountBelowOutputs, CountBelowRequest } from './count-below.js';
import type {
  CrossEntropyBackwardInputs,
  CrossEntropyGradients,
  CrossEntropyInputs,
  CrossEntropyOutputs,
  CrossEntropyRequest,
} from './cross-entropy.js';
import type { DrawnEntriesInputs, DrawnEntriesOutputs, DrawnEntriesRequest } from './drawn-entries.js';
import type { DropoutInputs, DropoutOutputs, DropoutRequest } from './dropout.js';
import type { DType } from './dtype.js';
import type {
  ElementwiseInputs,
  ElementwiseListRequest,
  ElementwiseOutputs,
  ElementwiseRequest,
} from './elementwise.js';
import type {
  EntmaxGradientInputs,
  EntmaxGradients,
  EntmaxInputs,
  EntmaxOutputs,
  EntmaxRequest,
} from './entmax.js';
import type {
  FeedForwardBackwardInputs,
  FeedForwardInputs,
  FeedForwardOutputs,
  FeedForwardRequest,
} from './feed-forward.js';
import type {
  GraphAttentionBackwardInputs,
  GraphAttentionGradients,
  GraphAttentionInputs,
  GraphAttentionOutputs,
  GraphAttentionRequest,
} from './graph-attention.js';
import type { GraphProductInputs, GraphProductOutputs, GraphProductRequest } from './graph-product.js';
import type { DeviceLimits } from './limits.js';
import type {
  LinearGradientInputs,
  LinearGradientRequest,
  LinearGradients,
  LinearInputs,
  LinearOutputs,
  LinearRequest,
} from './linear.js';
import type {
  LinearAttentionBackwardInputs,
  LinearAttentionGradients,
  LinearAttentionInputs,
  LinearAttentionOutputs,
  LinearAttentionRequest,
} from './linear-attention.js';
import type { NormBackwardInputs, NormGradients, NormInputs, NormOutputs, NormRequest } from './norm.js';
import type { Shape } from './shape.js';
import type { SumSquaresInputs, SumSquaresOutputs, SumSquaresRequest } from './sum-squares.js';
import type {
  ToeplitzProductBackwardInputs,
  ToeplitzProductGradients,
  ToeplitzProductInputs,
  ToeplitzProductOutputs,
  ToeplitzProductRequest,
} from './toeplitz-product.js';

/** How a path describes itself, one fact per line of `explain()`: the variant, how it selects. */
export type Facts = Readonly<Record<string, string>>;

/** Why a request is refused, as sentences; never empty. */
export interface Refused {
  readonly refusals: readonly string[];
}

/** What planning asks of a path that can run a request. */
export interface PreparedBytes {
  /** Peak transient bytes of a chunk of that many queries (tokens). */
  scratchBytes(chunk: number): number;
  /** The largest single transient buffer of that chunk, checked against `maxBufferBytes`. Default: not checked. */
  largestBytes?(chunk: number): number;
  /**
   * The chunk it runs best with, for operations that divide their work themselves; `scratchBytes` then says what a
   * smaller one saves. Default: the largest chunk whose scratch stays within `targetScratchBytes`, or twice that of
   * the most frugal chunk.
   */
  readonly preferredChunk?: number | undefined;
}

/** Shape and dtype of each output, by role. */
export type OutputSpecs = Readonly<Record<string, { readonly shape: Shape; readonly dtype: DType }>>;

/** An accepted request. Depends only on the request and the limits: it may be kept and run any number of times. */
export interface Prepared<Inputs, Outputs> extends PreparedBytes {
  /** What runs and why it was chosen. Only `explain()` asks. */
  describe?(): Facts;
  /**
   * The outputs by role, in the shapes that the request implies; `specs` names them, for wrappers that know no request.
   */
  run(inputs: Inputs, chunk: number, specs?: OutputSpecs): Outputs;
}

/**
 * An operation that a backend may run as a whole instead of core's composed version. Asked once per call and pass:
 * `prepare` returns either the reasons for refusing the request or what runs it. Pure and cheap: allocates nothing.
 * `limits` are those that core plans with: the backend's own, unless the caller narrowed them.
 */
export interface FusedOperation<Request, Inputs, Outputs> {
  prepare(request: Request, limits: DeviceLimits): Prepared<Inputs, Outputs> | Refused;
}

/** Any fused operation: all that is known before its definition is available. */
export type AnyFusedOperation = FusedOperation<never, never, object>;

/**
 * The operations that a backend runs as a whole, by the name of their definition; their backward passes add `Backward`
 * to that name. Open: an operation defined elsewhere looks itself up here (see `defineOperation`).
 */
export interface FusedOperations<T> {
  readonly attention?: FusedOperation<AttentionRequest, AttentionInputs<T>, AttentionOutputs<T>>;
  /** Gradients of q, k, v and, if given, of the bias and the relative table. */
  readonly attentionBackward?: FusedOperation<
    AttentionRequest,
    AttentionBackwardInputs<T>,
    AttentionGradients<T>
  >;
  /** Attention over the keys that a graph lists. */
  readonly graphAttention?: FusedOperation<
    GraphAttentionRequest,
    GraphAttentionInputs<T>,
    GraphAttentionOutputs<T>
  >;
  readonly graphAttentionBackward?: FusedOperation<
    GraphAttentionRequest,
    GraphAttentionBackwardInputs<T>,
    GraphAttentionGradients<T>
  >;
  /** Attention whose weights are products of features. */
  readonly linearAttention?: FusedOperation<
    LinearAttentionRequest,
    LinearAttentionInputs<T>,
    LinearAttentionOutputs<T>
  >;
  readonly linearAttentionBackward?: FusedOperation<
    LinearAttentionRequest,
    LinearAttentionBackwardInputs<T>,
    LinearAttentionGradients<T>
  >;
  /** Toeplitz matrices times columns. */
  readonly toeplitzProduct?: FusedOperation<
    ToeplitzProductRequest,
    ToeplitzProductInputs<T>,
    ToeplitzProductOutputs<T>
  >;
  readonly toeplitzProductBackward?: FusedOperation<
    ToeplitzProductRequest,
    ToeplitzProductBackwardInputs<T>,
    ToeplitzProductGradients<T>
  >;
  readonly feedForward?: FusedOperation<FeedForwardRequest, FeedForwardInputs<T>, FeedForwardOutputs<T>>;
  /** Gradients under the inputs' roles. Only with it does training run `feedForward`, with `request.saves`. */
  readonly feedForwardBackward?: FusedOperation<
    FeedForwardRequest,
    FeedForwardBackwardInputs<T>,
    FeedForwardInputs<T>
  >;
  /** Functions of the elements of tensors, in one pass. */
  readonly elementwise?: FusedOperation<ElementwiseRequest, ElementwiseInputs<T>, ElementwiseOutputs<T>>;
  /** One program for several tensors, with the bits that `elementwise` gives each of them. */
  readonly elementwiseList?: FusedOperation<
    ElementwiseListRequest,
    ElementwiseInputs<T>,
    ElementwiseOutputs<T>
  >;
  /** A product with its bias and its activation. */
  readonly linear?: FusedOperation<LinearRequest, LinearInputs<T>, LinearOutputs<T>>;
  /** The gradients of its weight and of its bias, which sum over the same rows. Asked only where `linear` is there. */
  readonly linearGradient?: FusedOperation<
    LinearGradientRequest,
    LinearGradientInputs<T>,
    LinearGradients<T>
  >;
  /** Dropout of elements. Its gradient is the same operation. */
  readonly dropout?: FusedOperation<DropoutRequest, DropoutInputs<T>, DropoutOutputs<T>>;
  /** Layer norm and RMS norm. */
  readonly norm?: FusedOperation<NormRequest, NormInputs<T>, NormOutputs<T>>;
  readonly normGradient?: FusedOperation<NormRequest, NormBackwardInputs<T>, NormGradients<T>>;
  /** Sums of the squares of several tensors, such as gradients, and the norm of all. */
  readonly sumSquares?: FusedOperation<SumSquaresRequest, SumSquaresInputs<T>, SumSquaresOutputs<T>>;
  /** The loss with what its gradient needs. */
  readonly crossEntropy?: FusedOperation<CrossEntropyRequest, CrossEntropyInputs<T>, CrossEntropyOutputs<T>>;
  readonly crossEntropyGradient?: FusedOperation<
    CrossEntropyRequest,
    CrossEntropyBackwardInputs<T>,
    CrossEntropyGradients<T>
  >;
  /** Entmax of rows, which the package mechanisms declares. */
  readonly entmax15?: FusedOperation<EntmaxRequest, EntmaxInputs<T>, EntmaxOutputs<T>>;
  readonly entmax15Gradient?: FusedOperation<EntmaxRequest, EntmaxGradientInputs<T>, EntmaxGradients<T>>;
  /** Places of numbers among ascending ones, which the package mechanisms declares. */
  readonly countBelow?: FusedOperation<CountBelowRequest, CountBelowInputs<T>, CountBelowOutputs<T>>;
  /** A random entry of each row with a weight, and one without, which the package mechanisms declares. */
  readonly drawnEntries?: FusedOperation<DrawnEntriesRequest, DrawnEntriesInputs<T>, DrawnEntriesOutputs<T>>;
  /** Weighted sums of the rows that a graph lists, which the package mechanisms declares, and those of the transpose. */
  readonly graphProduct?: FusedOperation<GraphProductRequest, GraphProductInputs<T>, GraphProductOutputs<T>>;
  readonly graphProductTransposed?: FusedOperation<
    GraphProductRequest,
    GraphProductInputs<T>,
    GraphProductOutputs<T>
  >;
  /** An optimiser's update of several parameters whose second averages are kept by row and by column. */
  readonly adafactor?: FusedOperation<AdafactorRequest, AdafactorInputs<T>, AdafactorOutputs<T>>;
  readonly [operation: string]: AnyFusedOperation | undefined;
}

/** What a path needs for one chunk of a request. */
export interface PathBytes<Request> {
  /** Peak transient bytes. */
  scratchBytes(request: Request, chunk: number, limits: DeviceLimits): number;
  /** The largest single transient buffer. Default: not checked. */
  largestBytes?(request: Request, chunk: number, limits: DeviceLimits): number;
}

/**
 * What core's composed versions need on an engine, for one chunk and in addition to what they return. Core's own count
 * assumes that tensors are freed at once; an engine that copies results or splits operations differently says so here.
 */
export interface ComposedBytes {
  readonly attention?: PathBytes<AttentionRequest>;
  readonly attentionBackward?: PathBytes<AttentionRequest>;
  readonly feedForward?: PathBytes<FeedForwardRequest>;
  readonly feedForwardBackward?: PathBytes<FeedForwardRequest>;
  readonly [operation: string]: PathBytes<never> | undefined;
}
