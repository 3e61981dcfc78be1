import type { DType, TensorData } from './dtype.js';
import type { ComposedBytes, FusedOperations } from './fused.js';
import type { DeviceLimits } from './limits.js';
import type { BinaryOp, CompareOp, UnaryOp } from './op-names.js';
import type { Shape } from './shape.js';

/**
 * A backend's own value. Core reads only shape and dtype; a backend extends the interface with what it needs
 * (a typed array, a graph node, a GPU buffer). Every primitive returns a new object, even for views: core releases
 * each one exactly once, and the backend itself counts references to storage shared between views.
 */
export interface BackendTensor {
  readonly shape: Shape;
  readonly dtype: DType;
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

/**
 * What a backend implements. Primitives are defined by the semantics written here, not by what an engine's op of
 * the same name does; the conformance suite has a case for each. Core checks shapes and dtypes before it calls a
 * primitive, so an implementation need not. A backend must NOT assume that tensors are contiguous views of their own
 * buffer, that inputs differ from each other, that no extent is 0, or that results are read at once. It may assume
 * that bools are 0 or 1, as long as its own primitives make them so.
 *
 * Structural problems never reach a backend. Engine problems (out of memory, device lost) that a primitive throws
 * poison its outputs and whatever core makes from them. An engine that reports errors later must itself reject `read`
 * and `evaluate` of everything computed from the failed work: it may reject more (all of one submission), never less.
 * `flush`, `release`, `memory` and `dispose` never throw, even after the device is lost.
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
   * Float64Array, to be rounded). The caller may change the array afterwards.
   */
  upload(data: TensorData, shape: Shape, dtype: DType): T;
  fill(value: number, shape: Shape, dtype: DType): T;
  /** Row-major copy of the values. Waits for the work that produces them. */
  read(x: T): Promise<TensorData>;
  /** Waits until every given tensor is computed. Shared work runs once. */
  evaluate(xs: readonly T[]): Promise<void>;
  /** Starts queued work without waiting; called after each query chunk. */
  flush(): void;
  /** Drops core's reference. Called once per tensor. Must not wait. */
  release(x: T): void;
  memory(): MemoryReport;
  /** Restarts the peak of `memory()` at the live bytes. */
  resetPeak(): void;
  /**
   * Frees everything; idempotent. Afterwards, making, computing or reading a tensor throws or rejects DISPOSED, even
   * if the tensor was computed before. Begins at once; a promise resolves when the process may exit (an engine may
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
   * dst with x written at `starts`. `exclusive` means that no other handle names dst: its storage may be reused if
   * neither x nor any other tensor of the backend views it (a reshape does). Core still releases dst afterwards.
   */
  writeInto(dst: T, x: T, starts: readonly number[], exclusive: boolean): T;
  /**
   * As `writeInto`, along one axis, from the position in `start` on: i32 of one element, clamped so that x fits. The other
   * extents of x are those of dst. If left out, core composes it of other primitives, which copies dst.
   */
  writeAt?(dst: T, x: T, axis: number, start: T, exclusive: boolean): T;

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
  /** The value of the branch not taken never matters, even when it is NaN. */
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
   * x [B, N, D], indices i32 [B, M] -> [B, M, D]; index -1 gives a row of zeros, whatever x holds; any other index
   * outside [0, N) gives a row of NaN in floats and of 0 in the other types: never memory outside the table.
   */
  gatherRows(x: T, indices: T): T;
  /** indices i32 [B, M], updates [B, M, D] -> [B, n, D]: sums of the updates of each row; indices outside [0, n) are dropped. */
  scatterAddRows(n: number, indices: T, updates: T): T;
  /**
   * i32 bit patterns. The element at coordinates c has place[a] = (offset[a] + c[a]) mod 2^32 (axes beyond the rank:
   * offset[a] alone) and gets word place[3] & 3 of Philox4x32-10 with counter (place[0], place[1], place[2],
   * place[3] >>> 2) and key (seed mod 2^32, floor(seed / 2^32)): see `philoxBits`. Rank at most 4.
   */
  randomBits(seed: number, offset: readonly [number, number, number, number], shape: Shape): T;

  // recorded work ------------------------------------------------------------------------------------------------
  /**
   * Runs `body` once and keeps its commands, so that they can run again on other values without `body`. If left out,
   * work cannot be recorded, and `recordedStep` calls its function each time.
   *
   * `body` gets tensors of the shapes and dtypes of `inputs`, which it releases, and returns results, which it hands over.
   * The first `stateCount` results replace the first `stateCount` inputs and have the same shapes and dtypes. Any other
   * tensors that `body` uses are kept as long as the work, without a copy. `body` must not read or wait for anything.
   * `seeds` are the seeds that it drew random numbers with; a replay brings new ones.
   *
   * `outputs` are the results of this first run, as `replay` returns them. `work` is undefined if it cannot run again.
   */
  record?(
    inputs: readonly T[],
    stateCount: number,
    body: (inputs: readonly T[]) => { readonly results: readonly T[]; readonly seeds: readonly number[] },
  ): { readonly work: RecordedWork<T> | undefined; readonly outputs: readonly T[] };

  // dry runs -----------------------------------------------------------------------------------------------------
  /**
   * A backend of the same limits and paths that computes nothing, for `planStep`: its tensors have no storage, and the
   * peak of its `memory()` counts tensors and scratch as the device would hold them. If left out, core counts tensors by
   * their shapes, and for fused operations what they plan.
   */
  dry?(): Backend;
}

/** Commands that were recorded by `Backend.record`. */
export interface RecordedWork<T extends BackendTensor> {
  /** Bytes that it holds and other work cannot use. */
  readonly bytes: number;
  /**
   * Runs the commands on the values of `inputs`, with `seeds` in place of the recorded ones, and returns results with
   * the bits that `body` would have made. The new state may overwrite the old state, which must not be read any more.
   * Returns undefined, having done nothing, if another tensor still views the old state.
   */
  replay(inputs: readonly T[], seeds: readonly number[]): readonly T[] | undefined;
  /** Frees what it keeps; returned state stays valid. */
  dispose(): void;
}
