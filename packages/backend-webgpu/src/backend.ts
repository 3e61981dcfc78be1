import {
  type Backend,
  type DType,
  type Shape,
  sizeOf,
  type TensorData,
  TopKError,
} from '@topk-attention/core';
import {
  type BinaryOp,
  broadcastShapes,
  type Capabilities,
  type CompareOp,
  type FusedOperations,
  type MemoryReport,
  type RecordedWork,
  type UnaryOp,
} from '@topk-attention/core/backend';
import { SelectionCounter, type SelectionCounts } from './attention/selection-counts.js';
import { Constants } from './constants.js';
import { exportTensor } from './export-tensor.js';
import { fusedOperations } from './fused.js';
import { limitsOf } from './limits.js';
import * as elementwise from './primitives/elementwise.js';
import { recordFill } from './primitives/fill.js';
import { recordGatherRows } from './primitives/gather-rows.js';
import * as layout from './primitives/layout.js';
import { recordMatmul } from './primitives/matmul.js';
import { recordPutAlong } from './primitives/put-along.js';
import { recordRandomBits } from './primitives/random-bits.js';
import { type Reduction, recordReduce } from './primitives/reduce.js';
import { recordScatterAddRows } from './primitives/scatter-add-rows.js';
import { recordSoftmax } from './primitives/softmax.js';
import { recordTakeAlong } from './primitives/take-along.js';
import { recordTopK } from './primitives/top-k.js';
import { recordWriteAt } from './primitives/write-at.js';
import { recordWriteBox } from './primitives/write-box.js';
import { recordWork } from './recorded-work.js';
import type { DeviceFacts } from './runtime/facts.js';
import type { Span } from './runtime/kernel.js';
import { Stream, type StreamOptions } from './runtime/stream.js';
import { storageBytes } from './runtime/view.js';
import { fromStorage, inStorage, toStorage } from './storage-data.js';
import { type GpuBufferTensor, Storage, WebGpuTensor } from './tensor.js';
import { windowsOf } from './windows.js';

/** Uploads of at least this size go to their own buffers. */
const FRESH_BYTES = 1 << 20;

export interface BackendOptions extends StreamOptions {
  /** True to destroy the device with the backend. */
  readonly ownsDevice?: boolean;
  readonly fused?: boolean;
  /** True to count what `selectionCounts` tells. */
  readonly countSelection?: boolean;
}

export interface WebGpuStatistics {
  readonly launches: number;
  readonly submissions: number;
  /** Compiled, or being compiled. */
  readonly pipelines: number;
  /** Bytes of all buffers of the backend, including free ones. */
  readonly deviceBytes: number;
  /** Most bytes that tensors and scratch used at a time, as rounded by the pool, since creation or `resetPeak`. */
  readonly peakUsedBytes: number;
}

/**
 * Kernels in WGSL on a GPUDevice. Primitives record launches; `flush` submits them, `read` and `evaluate` wait. Made by
 * `createWebGpuBackend`.
 */
export class WebGpuBackend implements Backend<WebGpuTensor> {
  readonly name = 'webgpu';
  readonly device: GPUDevice;
  /** What the device offers. */
  readonly facts: DeviceFacts;
  readonly capabilities: Capabilities;
  readonly fused: FusedOperations<WebGpuTensor>;
  /** @internal Recorded work. */
  readonly stream: Stream;
  readonly #ownsDevice: boolean;
  readonly #options: BackendOptions;
  readonly #counter: SelectionCounter | undefined;
  readonly #constants: Constants;
  #live = 0;
  #peak = 0;
  #disposal: Promise<void> | undefined;

  /** @internal Use `createWebGpuBackend`. */
  constructor(device: GPUDevice, options: BackendOptions = {}) {
    const { ownsDevice = false, fused = true, countSelection = false, ...streamOptions } = options;
    this.device = device;
    this.#ownsDevice = ownsDevice;
    this.#options = options;
    this.stream = new Stream(device, streamOptions);
    this.facts = this.stream.facts;
    this.#constants = new Constants(this.stream);
    this.#counter = countSelection ? new SelectionCounter(this.stream) : undefined;
    this.capabilities = {
      dtypes: ['f32', 'f16', 'i32', 'bool'],
      floatStorage: 'f32',
      deterministicScatter: true,
      execution: 'recorded',
      limits: limitsOf(this.facts),
    };
    const allocation = {
      allocate: (shape: Shape, dtype: DType) => this.allocate(shape, dtype),
      allocateWindows: (shapes: readonly Shape[]) => this.allocateWindows(shapes),
      release: (x: WebGpuTensor) => this.release(x),
    };
    this.fused = fused
      ? fusedOperations(this.stream, this.facts, allocation, this.#counter && { paths: this.#counter.paths })
      : {};
  }

  /**
   * How well the candidate lists of top-k attention have decided since the last call; undefined unless the backend was
   * created with `countSelection`. Waits for all work recorded so far.
   */
  async selectionCounts(): Promise<SelectionCounts | undefined> {
    this.#requireUsable();
    return this.#counter?.read();
  }

  // memory -----------------------------------------------------------------------------------------------------

  upload(data: TensorData, shape: Shape, dtype: DType): WebGpuTensor {
    const bytes = this.#checkedBytes(shape, dtype);
    // The queue copies at once, so that no second copy stays in memory until the submission.
    if (bytes >= FRESH_BYTES) {
      const span = this.stream.writeFresh(inStorage(data, dtype));
      return this.#tensorOf(new Storage(span, bytes), shape, dtype);
    }
    const out = this.allocate(shape, dtype);
    if (bytes > 0) this.stream.write(out.span, toStorage(data, dtype));
    return out;
  }

  fill(value: number, shape: Shape, dtype: DType): WebGpuTensor {
    this.#requireUsable();
    const span = sizeOf(shape) === 1 ? this.#constants.of(value, dtype) : undefined;
    if (span !== undefined) {
      return this.#tensorOf(new Storage(span, storageBytes(shape, dtype), 'constant'), shape, dtype);
    }
    return this.#made(shape, dtype, (out) => recordFill(this.stream, value, out));
  }

  async read(x: WebGpuTensor): Promise<TensorData> {
    this.#requireUsable();
    const { shape, dtype } = x;
    const bytes = sizeOf(shape) === 0 ? new Uint8Array(0) : await this.stream.read(x.span);
    return fromStorage(bytes, shape, dtype);
  }

  async evaluate(_xs: readonly WebGpuTensor[]): Promise<void> {
    this.#requireUsable();
    this.stream.requireNotRecording('evaluate');
    await this.stream.finish();
  }

  flush(): void {
    this.stream.flush();
  }

  release(x: WebGpuTensor): void {
    if (x.isReleased) return;
    x.isReleased = true;
    const { storage } = x;
    if (--storage.views > 0) return;
    this.#live -= storage.bytes;
    if (storage.owner === 'own') this.stream.release(storage.span);
  }

  /** Counts since creation, and bytes on the device: now, and the most that tensors and scratch used at a time. */
  statistics(): WebGpuStatistics {
    const { pool, pipelines, counts } = this.stream;
    return {
      ...counts,
      pipelines: pipelines.size,
      deviceBytes: pool.allocatedBytes,
      peakUsedBytes: pool.peakUsedBytes,
    };
  }

  /** A backend of the same kernels that runs none of them, and counts what they would take: see `dryBackend`. */
  dry(): WebGpuBackend {
    const { ownsDevice: _, countSelection: _counts, ...options } = this.#options;
    return new WebGpuBackend(this.device, { ...options, isDry: true });
  }

  memory(): MemoryReport {
    if (this.stream.isDry) {
      const peak = this.stream.pool.peakUsedBytes;
      return {
        live: this.#live,
        peak,
        covers: 'live: tensors; peak: tensors and scratch, as rounded by the pool',
      };
    }
    return {
      live: this.#live,
      pooled: Math.max(0, this.stream.pool.allocatedBytes - this.#live),
      peak: this.#peak,
      covers:
        'live and peak: tensors; pooled: buffers kept for reuse, what sizes are rounded up by, and scratch in use; ' +
        'not buffers borrowed from the caller',
    };
  }

  resetPeak(): void {
    this.#peak = this.#live;
    this.stream.pool.resetPeak();
  }

  /** Gives buffers kept for reuse back to the device, once recorded work is submitted. */
  trim(): void {
    this.stream.pool.trim();
    this.stream.flush();
  }

  dispose(): Promise<void> {
    this.#disposal ??= this.#close();
    return this.#disposal;
  }

  async #close(): Promise<void> {
    this.#constants.clear();
    this.#live = 0;
    await this.stream.close();
    if (this.#ownsDevice) this.device.destroy();
  }

  // layout -----------------------------------------------------------------------------------------------------

  reshape(x: WebGpuTensor, shape: Shape): WebGpuTensor {
    return this.view(x, shape);
  }

  transpose(x: WebGpuTensor, permutation: readonly number[]): WebGpuTensor {
    const shape = permutation.map((axis) => x.shape[axis] as number);
    return this.#made(shape, x.dtype, (out) => layout.recordTranspose(this.stream, x, permutation, out));
  }

  slice(x: WebGpuTensor, starts: readonly number[], sizes: Shape): WebGpuTensor {
    return this.#made(sizes, x.dtype, (out) => layout.recordSlice(this.stream, x, starts, out));
  }

  concat(xs: readonly WebGpuTensor[], axis: number): WebGpuTensor {
    const first = xs[0] as WebGpuTensor;
    const extent = xs.reduce((sum, x) => sum + (x.shape[axis] as number), 0);
    const shape = first.shape.map((own, other) => (other === axis ? extent : own));
    return this.#made(shape, first.dtype, (out) => layout.recordConcat(this.stream, xs, axis, out));
  }

  writeInto(dst: WebGpuTensor, x: WebGpuTensor, starts: readonly number[], exclusive: boolean): WebGpuTensor {
    return this.#written(dst, x, exclusive, (to) => recordWriteBox(this.stream, x, to, starts));
  }

  writeAt(
    dst: WebGpuTensor,
    x: WebGpuTensor,
    axis: number,
    start: WebGpuTensor,
    exclusive: boolean,
  ): WebGpuTensor {
    if (dst.shape[axis] === x.shape[axis]) return this.view(x, x.shape);
    return this.#written(dst, x, exclusive, (to) => recordWriteAt(this.stream, x, to, axis, start));
  }

  /** Records a write of x into dst, in place where nothing else uses dst, otherwise into a copy. */
  #written(
    dst: WebGpuTensor,
    x: WebGpuTensor,
    exclusive: boolean,
    record: (to: WebGpuTensor) => void,
  ): WebGpuTensor {
    if (exclusive && dst.storage.isWritable && dst.storage !== x.storage) {
      record(dst);
      return this.view(dst, dst.shape);
    }
    return this.#made(dst.shape, dst.dtype, (out) => {
      layout.recordCopy(this.stream, dst, out);
      record(out);
    });
  }

  // elementwise ------------------------------------------------------------------------------------------------

  unary(op: UnaryOp, x: WebGpuTensor): WebGpuTensor {
    return this.#made(x.shape, x.dtype, (out) => elementwise.recordUnary(this.stream, op, x, out));
  }

  binary(op: BinaryOp, a: WebGpuTensor, b: WebGpuTensor): WebGpuTensor {
    const shape = broadcastShapes(op, a.shape, b.shape);
    return this.#made(shape, a.dtype, (out) => elementwise.recordBinary(this.stream, op, a, b, out));
  }

  compare(op: CompareOp, a: WebGpuTensor, b: WebGpuTensor): WebGpuTensor {
    const shape = broadcastShapes(op, a.shape, b.shape);
    return this.#made(shape, 'bool', (out) => elementwise.recordCompare(this.stream, op, a, b, out));
  }

  isNaN(x: WebGpuTensor): WebGpuTensor {
    return this.#made(x.shape, 'bool', (out) => elementwise.recordIsNaN(this.stream, x, out));
  }

  logicalAnd(a: WebGpuTensor, b: WebGpuTensor): WebGpuTensor {
    const shape = broadcastShapes('logicalAnd', a.shape, b.shape);
    return this.#made(shape, 'bool', (out) => elementwise.recordLogicalAnd(this.stream, a, b, out));
  }

  logicalNot(x: WebGpuTensor): WebGpuTensor {
    return this.#made(x.shape, 'bool', (out) => elementwise.recordLogicalNot(this.stream, x, out));
  }

  where(condition: WebGpuTensor, a: WebGpuTensor, b: WebGpuTensor): WebGpuTensor {
    const shape = broadcastShapes('where', condition.shape, a.shape, b.shape);
    return this.#made(shape, a.dtype, (out) => elementwise.recordWhere(this.stream, condition, a, b, out));
  }

  cast(x: WebGpuTensor, dtype: DType): WebGpuTensor {
    return this.#made(x.shape, dtype, (out) => elementwise.recordCast(this.stream, x, out));
  }

  // reductions, products and selection ---------------------------------------------------------------------------

  sum(x: WebGpuTensor, axes: readonly number[]): WebGpuTensor {
    return this.#reduce('sum', x, axes);
  }

  max(x: WebGpuTensor, axes: readonly number[]): WebGpuTensor {
    return this.#reduce('max', x, axes);
  }

  #reduce(reduction: Reduction, x: WebGpuTensor, axes: readonly number[]): WebGpuTensor {
    const shape = x.shape.map((extent, axis) => (axes.includes(axis) ? 1 : extent));
    return this.#made(shape, x.dtype, (out) => recordReduce(this.stream, reduction, x, axes, out));
  }

  matmul(a: WebGpuTensor, b: WebGpuTensor, transposeA: boolean, transposeB: boolean): WebGpuTensor {
    const rows = a.shape.at(transposeA ? -1 : -2) as number;
    const columns = b.shape.at(transposeB ? -2 : -1) as number;
    const batch = (a.shape.length >= b.shape.length ? a : b).shape.slice(0, -2);
    return this.#made([...batch, rows, columns], a.dtype, (out) =>
      recordMatmul(this.stream, a, b, out, transposeA, transposeB),
    );
  }

  softmax(x: WebGpuTensor): WebGpuTensor {
    return this.#made(x.shape, x.dtype, (out) => recordSoftmax(this.stream, x, out));
  }

  topK(x: WebGpuTensor, k: number): { readonly values: WebGpuTensor; readonly indices: WebGpuTensor } {
    const shape = [...x.shape.slice(0, -1), k];
    const indices = this.allocate(shape, 'i32');
    try {
      const values = this.#made(shape, x.dtype, (out) => recordTopK(this.stream, x, k, out, indices));
      return { values, indices };
    } catch (error) {
      this.release(indices);
      throw error;
    }
  }

  takeAlong(x: WebGpuTensor, indices: WebGpuTensor): WebGpuTensor {
    return this.#made(indices.shape, x.dtype, (out) => recordTakeAlong(this.stream, x, indices, out));
  }

  putAlong(indices: WebGpuTensor, values: WebGpuTensor, n: number): WebGpuTensor {
    const shape = [...indices.shape.slice(0, -1), n];
    return this.#made(shape, values.dtype, (out) => recordPutAlong(this.stream, indices, values, out));
  }

  gatherRows(x: WebGpuTensor, indices: WebGpuTensor): WebGpuTensor {
    const shape = [...indices.shape, x.shape[2] as number];
    return this.#made(shape, x.dtype, (out) => recordGatherRows(this.stream, x, indices, out));
  }

  scatterAddRows(n: number, indices: WebGpuTensor, updates: WebGpuTensor): WebGpuTensor {
    const [batch, , width] = updates.shape as readonly [number, number, number];
    return this.#made([batch, n, width], updates.dtype, (out) =>
      recordScatterAddRows(this.stream, indices, updates, out),
    );
  }

  randomBits(seed: number, offset: readonly [number, number, number, number], shape: Shape): WebGpuTensor {
    return this.#made(shape, 'i32', (out) => recordRandomBits(this.stream, seed, offset, out));
  }

  // recorded work ------------------------------------------------------------------------------------------------

  record(
    inputs: readonly WebGpuTensor[],
    stateCount: number,
    body: Parameters<typeof recordWork>[3],
  ): { readonly work: RecordedWork<WebGpuTensor> | undefined; readonly outputs: readonly WebGpuTensor[] } {
    this.#requireUsable();
    return recordWork(this, inputs, stateCount, body);
  }

  // storage ----------------------------------------------------------------------------------------------------

  /** @internal A tensor with undefined content. */
  allocate(shape: Shape, dtype: DType): WebGpuTensor {
    const span: Span = this.stream.scratch(this.#checkedBytes(shape, dtype));
    return this.#tensorOf(new Storage(span, storageBytes(shape, dtype)), shape, dtype);
  }

  /** @internal See `exportTensor`. */
  async export(x: WebGpuTensor): Promise<GpuBufferTensor> {
    this.#requireUsable();
    return exportTensor(this.stream, x);
  }

  #checkedBytes(shape: Shape, dtype: DType): number {
    this.#requireUsable();
    const bytes = storageBytes(shape, dtype);
    if (bytes > this.facts.bufferBytes) {
      throw new TopKError(
        'OUT_OF_MEMORY',
        `webgpu: a tensor of shape [${shape.join(', ')}] (${dtype}) is too large`,
        {
          expected: `at most ${this.facts.bufferBytes} bytes, the largest buffer of the device`,
          got: `${bytes} bytes`,
          fix: 'Split it, or use a smaller queryChunk or budgetBytes',
        },
      );
    }
    return bytes;
  }

  /** @internal Another tensor on the same storage. */
  view(x: WebGpuTensor, shape: Shape): WebGpuTensor {
    this.#requireUsable();
    x.storage.views++;
    return new WebGpuTensor(x.storage, shape, x.dtype, x.span);
  }

  /** @internal f32 tensors with undefined content, one behind the other in one buffer, as `windowsOf` places them. */
  allocateWindows(shapes: readonly Shape[]): readonly WebGpuTensor[] {
    const { places, words } = windowsOf(shapes.map((shape) => sizeOf(shape)));
    const whole = this.allocate([words], 'f32');
    const { storage } = whole;
    const made = shapes.map((shape, at) => this.window(storage, places[at] as number, shape, 'f32'));
    this.release(whole);
    return made;
  }

  /** @internal A tensor in a part of a storage, from `first` on, in words. */
  window(storage: Storage, first: number, shape: Shape, dtype: DType): WebGpuTensor {
    const { buffer, offset } = storage.span;
    const size = Math.max(4, storageBytes(shape, dtype));
    storage.views++;
    return new WebGpuTensor(storage, shape, dtype, { buffer, offset: offset + 4 * first, size });
  }

  /** @internal A tensor in a buffer that belongs to the caller. */
  borrow(span: Span, shape: Shape, dtype: DType): WebGpuTensor {
    this.#requireUsable();
    return this.#tensorOf(new Storage(span, 0, 'borrowed'), shape, dtype);
  }

  #tensorOf(storage: Storage, shape: Shape, dtype: DType): WebGpuTensor {
    storage.views++;
    this.#live += storage.bytes;
    this.#peak = Math.max(this.#peak, this.#live);
    return new WebGpuTensor(storage, shape, dtype);
  }

  /** Allocates a tensor and records the steps that fill it; if that throws, nothing is left behind. */
  #made(shape: Shape, dtype: DType, record: (out: WebGpuTensor) => void): WebGpuTensor {
    const out = this.allocate(shape, dtype);
    try {
      record(out);
    } catch (error) {
      this.release(out);
      throw error;
    }
    return out;
  }

  #requireUsable(): void {
    if (this.#disposal !== undefined) {
      throw new TopKError('DISPOSED', 'webgpu: the backend was used after dispose()');
    }
    if (this.stream.failure !== undefined) throw this.stream.failure;
  }
}
