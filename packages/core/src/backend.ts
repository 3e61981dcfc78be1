import type { DType, TensorData } from './dtype.js';
import type { PathBytes } from './plan/path-bytes.js';
import type { AttentionRequest, FeedForwardRequest } from './plan/request.js';
import type { Shape } from './shape.js';

/**
 * A backend's own value. Core reads only shape and dtype; a backend extends the interface with what it needs
 * (a typed array, a graph node, a GPU buffer). Every primitive returns a fresh object, also for views: core
 * releases each one exactly once, and storage shared between views is the backend's own count.
 */
export interface BackendTensor {
  readonly shape: Shape;
  readonly dtype: DType;
}

export type UnaryOp = 'neg' | 'abs' | 'exp' | 'log' | 'sqrt' | 'rsqrt' | 'tanh' | 'erf' | 'sigmoid';
export type BinaryOp = 'add' | 'sub' | 'mul' | 'div' | 'min' | 'max';
export type CompareOp = 'eq' | 'lt' | 'le';

/** What the planner may assume of an engine: plain data, so that planning needs no device. */
export interface DeviceLimits {
  /** Largest single buffer in bytes. */
  readonly maxBufferBytes: number;
  /** Scratch bytes a query chunk should aim at: large enough to be fast, small enough for the caches. */
  readonly targetScratchBytes: number;
  /** Bounds on the query chunk, in queries. */
  readonly minQueryChunk: number;
  readonly maxQueryChunk: number;
  /** Two-level selection from this many keys on, with blocks of this many keys (measured per engine); null: never. */
  readonly twoLevel: { readonly minKeys: number; readonly blockSize: number } | null;
  /** Cost of a gathered value element relative to one multiply-add of a dense product (measured per engine). */
  readonly gatherCost: number;
  /** True when `writeInto` reuses the storage of an unshared destination. */
  readonly inPlace: boolean;
  /** True when the engine keeps the scratch of a pass for later calls: training then holds that of both passes. Default false. */
  readonly keepsScratch?: boolean;
  /** Bytes the engine stores a bool in. Default 1; WGSL has no storage type below 4. */
  readonly boolBytes?: 1 | 4;
}

/** Facts about a backend as data, so that tests and docs can be generated from them. */
export interface Capabilities {
  readonly dtypes: readonly DType[];
  /** Type that 'f32' tensors are stored in: 'f64' only in the reference backend's finite-difference mode. */
  readonly floatStorage: 'f32' | 'f64';
  /** False with a reason when equal inputs may give different bits in `scatterAddRows`. */
  readonly deterministicScatter: true | { readonly no: string };
  /** Whether work is done at once ('eager'), recorded ('recorded'), or built into a graph ('lazy'). */
  readonly execution: 'eager' | 'recorded' | 'lazy';
  readonly limits: DeviceLimits;
}

export interface MemoryReport {
  /** Bytes held by live tensors; what is released but still in flight counts as pooled, or is named in `covers`. */
  readonly live: number;
  /** Bytes kept for reuse. */
  readonly pooled?: number;
  /** Largest `live` since creation or `resetPeak`. */
  readonly peak?: number;
  /** What the figures cover and what they leave out. */
  readonly covers: string;
}

export interface AttentionInputs<T> {
  /** [B, Hq, Lq, D] */
  readonly q: T;
  /** [B, Hkv, Lk, D] */
  readonly k: T;
  /** [B, Hkv, Lk, Dv] */
  readonly v: T;
  /** bool, each dim 1 or that of [B, Hq, Lq, Lk]; true = keep */
  readonly mask?: T;
  /** i32 [B] */
  readonly keyLengths?: T;
  /** f32, each dim 1 or that of [B, Hq, Lq, Lk] */
  readonly bias?: T;
  /** f32 [buckets, Hq] */
  readonly relativeTable?: T;
}

export interface AttentionOutputs<T> {
  /** [B, Hq, Lq, Dv] */
  readonly output: T;
  /** i32 [B, Hq, Lq, k]: kept keys ascending, then -1. Present when `request.saves` asks for it and k is a number. */
  readonly indices?: T;
  /** f32 [B, Hq, Lq, k]: scores of the kept keys (scale and biases included), -inf in unused slots, NaN in NaN rows. */
  readonly scores?: T;
}

export interface AttentionBackwardInputs<T> extends AttentionInputs<T> {
  readonly indices?: T;
  readonly scores?: T;
  /** [B, Hq, Lq, Dv] */
  readonly dOutput: T;
}

export interface AttentionGradients<T> {
  readonly q: T;
  readonly k: T;
  readonly v: T;
  readonly bias?: T;
  readonly relativeTable?: T;
}

export interface FeedForwardInputs<T> {
  /** [tokens, D] */
  readonly x: T;
  /** [D, F] */
  readonly wIn: T;
  /** [F] */
  readonly bIn?: T;
  /** [D, F] */
  readonly wGate?: T;
  /** [F, Dout] */
  readonly wOut: T;
  /** [Dout] */
  readonly bOut?: T;
}

export interface FeedForwardOutputs<T> {
  /** [tokens, Dout] */
  readonly output: T;
  /** i32 [tokens, k]: kept units ascending, then -1. Present when `request.saves` asks for it and k is a number. */
  readonly indices?: T;
  /** f32 [tokens, k]: pre-activations of the kept units, NaN throughout for tokens with a NaN. */
  readonly preactivations?: T;
}

export interface FeedForwardBackwardInputs<T> extends FeedForwardInputs<T> {
  readonly indices?: T;
  readonly preactivations?: T;
  /** [tokens, Dout] */
  readonly dOutput: T;
}

/**
 * An operation a backend may run as a whole instead of the composed version. `refuses` returns the reasons why a
 * request is not taken (empty: it is taken); it is pure and cheap. `scratchBytes` is the planned transient memory
 * of a chunk of that many queries (tokens).
 */
export interface FusedOperation<Request, Inputs, Outputs> {
  refuses(request: Request): readonly string[];
  scratchBytes(request: Request, chunk: number): number;
  /** The largest single transient buffer of such a chunk, held against `maxBufferBytes`. Default: not checked. */
  largestBytes?(request: Request, chunk: number): number;
  /**
   * The chunk it runs best with, for operations that divide their work themselves; `scratchBytes` then says what a
   * smaller one saves. Default: the largest whose scratch stays within `targetScratchBytes`.
   */
  preferredChunk?(request: Request): number | undefined;
  /** How it would run the request, for `explain()`: the variant and what it was chosen by. Pure and cheap. */
  describe?(request: Request): string;
  run(request: Request, inputs: Inputs, chunk: number): Outputs;
}

export interface FusedOperations<T> {
  readonly attention?: FusedOperation<AttentionRequest, AttentionInputs<T>, AttentionOutputs<T>>;
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
}

/**
 * What core's composed versions need on an engine, for one chunk and beside what they return. Core's own count is that of
 * an engine that frees a tensor at once; one that copies results or divides operations in other ways says so here.
 */
export interface ComposedBytes {
  readonly attention?: PathBytes<AttentionRequest>;
  readonly attentionBackward?: PathBytes<AttentionRequest>;
  readonly feedForward?: PathBytes<FeedForwardRequest>;
  readonly feedForwardBackward?: PathBytes<FeedForwardRequest>;
}

/**
 * What a backend implements. Primitives are defined by the semantics written here, not by what an engine's op of
 * the same name does; the conformance suite has a case for each. Core has checked shapes and dtypes before a
 * primitive is called: an implementation need not. A backend must NOT assume that tensors are contiguous views of
 * their own buffer, that inputs differ from each other, that no extent is 0, or that results are read at once. It may
 * assume that bools are 0 or 1, as long as its own primitives make them so.
 *
 * Structural problems never reach a backend. Engine problems (out of memory, device lost) that a primitive throws
 * poison its outputs and whatever core makes from them. An engine whose errors come later must itself reject `read`
 * and `evaluate` of everything computed from the failed work: it may reject more (all of one submission), never less.
 * `flush`, `release`, `memory` and `dispose` never throw, also after the device is lost.
 */
export interface Backend<T extends BackendTensor = BackendTensor> {
  readonly name: string;
  readonly capabilities: Capabilities;
  readonly fused?: FusedOperations<T>;
  /** Default: core's own counts. */
  readonly composedBytes?: ComposedBytes;

  // memory -----------------------------------------------------------------------------------------------------
  /**
   * Copies `data` (row-major; see DType for the array type, bools are 0 or 1; 'f32' data may be a Float32Array or a
   * Float64Array, to be rounded). The array may be changed by the caller afterwards.
   */
  upload(data: TensorData, shape: Shape, dtype: DType): T;
  fill(value: number, shape: Shape, dtype: DType): T;
  /** Row-major copy of the values. Waits for the work that produces them. */
  read(x: T): Promise<TensorData>;
  /** Waits until every listed tensor is computed. Shared work runs once. */
  evaluate(xs: readonly T[]): Promise<void>;
  /** Starts queued work without waiting; called after each query chunk. */
  flush(): void;
  /** Drops core's reference. Called once per tensor. Must not wait. */
  release(x: T): void;
  memory(): MemoryReport;
  /** Restarts the peak of `memory()` at the live bytes. */
  resetPeak(): void;
  /**
   * Frees everything; idempotent. Afterwards whatever would make, compute or read a tensor throws or rejects DISPOSED, also
   * for tensors that were computed before. Begins at once; a promise resolves when the process may exit (an engine may
   * have to finish submitted work first).
   */
  dispose(): void | Promise<void>;

  // layout -----------------------------------------------------------------------------------------------------
  reshape(x: T, shape: Shape): T;
  /** Axis `a` of the result is axis `permutation[a]` of x. */
  transpose(x: T, permutation: readonly number[]): T;
  slice(x: T, starts: readonly number[], sizes: Shape): T;
  concat(xs: readonly T[], axis: number): T;
  /**
   * dst with x written at `starts`. `exclusive` says that no other handle names dst: its storage may be reused if no
   * other tensor of the backend views it (a reshape does) and x does not. Core still releases dst afterwards.
   */
  writeInto(dst: T, x: T, starts: readonly number[], exclusive: boolean): T;

  // elementwise; binary, compare, logic and where broadcast as NumPy does ------------------------------------------
  unary(op: UnaryOp, x: T): T;
  /** f32, f16, i32 (i32 division truncates towards zero). min and max of NaN are undefined. */
  binary(op: BinaryOp, a: T, b: T): T;
  /** bool. A comparison with NaN is false. */
  compare(op: CompareOp, a: T, b: T): T;
  /** bool, decided on the bits. */
  isNaN(x: T): T;
  logicalAnd(a: T, b: T): T;
  logicalNot(x: T): T;
  /** The value of the branch not taken never matters, also when it is NaN. */
  where(condition: T, a: T, b: T): T;
  /** Float to i32 truncates towards zero; anything to bool is `!= 0`. */
  cast(x: T, dtype: DType): T;

  // reductions: `axes` ascending, unique and non-empty; kept as extent 1; fixed order of summation ----------------------
  sum(x: T, axes: readonly number[]): T;
  /** NaN: undefined. Empty extent: -inf. */
  max(x: T, axes: readonly number[]): T;

  // products and selection ---------------------------------------------------------------------------------------
  /** [..., M, K] x [..., K, N] with equal batch dims, or one operand of rank 2; zeros where K is 0. Sums in f32 whatever the dtype. */
  matmul(a: T, b: T, transposeA: boolean, transposeB: boolean): T;
  /** Over the last axis. A row of all -inf gives zeros; a row with NaN or +inf gives NaN throughout. */
  softmax(x: T): T;
  /**
   * The k largest entries above -inf of each row of the last axis, 1 <= k <= extent. At the boundary the lower
   * index wins. Kept entries in ascending index order; unused slots at the end with value -inf and index -1.
   * x holds no NaN; +inf is an ordinary value.
   */
  topK(x: T, k: number): { readonly values: T; readonly indices: T };
  /**
   * result[..., j] = x[..., indices[..., j]] over the last axis, leading dims equal; index -1 gives 0, any other index
   * outside [0, extent) gives NaN in floats and 0 in the other types.
   */
  takeAlong(x: T, indices: T): T;
  /** Zeros of last extent n with values[..., j] put at indices[..., j], unique but for those outside [0, n), which are dropped. */
  putAlong(indices: T, values: T, n: number): T;
  /**
   * x [B, N, D], indices i32 [B, M] -> [B, M, D]; index -1 gives a row of zeros, whatever x holds, any other index outside
   * [0, N) a row of NaN in floats and of 0 in the other types: never what lies beside the table.
   */
  gatherRows(x: T, indices: T): T;
  /** indices i32 [B, M], updates [B, M, D] -> [B, n, D]: sums of the updates of each row; indices outside [0, n) are dropped. */
  scatterAddRows(n: number, indices: T, updates: T): T;
  /**
   * i32 bit patterns: word 0 of Philox4x32-10 with key (seed mod 2^32, floor(seed / 2^32)) and, for the element at
   * coordinates c, counter word a = offset[a] + c[a] (axes beyond the rank: offset[a] alone). Rank at most 4.
   */
  randomBits(seed: number, offset: readonly [number, number, number, number], shape: Shape): T;
}
