import {
  type Backend,
  type DType,
  type Shape,
  sizeOf,
  type TensorData,
  TopKError,
} from '@topk-attention/core';
import type {
  BinaryOp,
  Capabilities,
  CompareOp,
  FusedOperations,
  MemoryReport,
  UnaryOp,
} from '@topk-attention/core/backend';
import type { Engine } from './engine/engine.js';
import { EngineWatch } from './engine/watch.js';
import { fusedOperations } from './fused.js';
import { LiveTensors } from './live-tensors.js';
import { normalizedBooleans } from './ops/booleans.js';
import { integersOf, rememberFill, rememberIntegers } from './ops/host/integers.js';
import {
  along,
  elementwise,
  layout,
  matmul,
  randomBits,
  reduce,
  rows,
  softmaxRows,
  topK,
} from './ops/index.js';
import { dtypeOfTf, type TensorExchange, type TfjsTensor, tfTypeOf } from './tensor.js';
import type { TfTensor } from './tf.js';

/**
 * Core's primitives on the ops of tf. Created by `createTfjsBackend`.
 *
 * Results are kept (`tf.keep`), so that a caller's `tf.tidy` does not free what core still counts.
 */
export class TfjsBackend implements Backend<TfjsTensor> {
  readonly name: string;
  readonly capabilities: Capabilities;
  readonly fused?: FusedOperations<TfjsTensor>;
  readonly #engine: Engine;
  readonly #tensors: LiveTensors;
  #isDisposed = false;
  readonly #watch: EngineWatch;

  /** @internal Use `createTfjsBackend`. */
  constructor(engine: Engine, { fused = true }: { readonly fused?: boolean } = {}) {
    this.#engine = engine;
    this.#watch = new EngineWatch(engine);
    this.#tensors = new LiveTensors(engine.limits.boolBytes);
    this.name = `tfjs-${engine.name}`;
    this.capabilities = {
      dtypes: ['f32', 'i32', 'bool'],
      floatStorage: 'f32',
      deterministicScatter: engine.traits.deterministicScatter,
      execution: engine.traits.isEager ? 'eager' : 'recorded',
      limits: engine.limits,
    };
    if (fused) this.fused = fusedOperations(engine, this.#exchange);
  }

  // tensors ------------------------------------------------------------------------------------------------------

  // No enumerable property leads to tf: `tf.tidy` walks through everything that its function returns.

  /** The caller's tf and which of its engines runs. */
  get engine(): Engine {
    return this.#engine;
  }

  readonly #exchange: TensorExchange = {
    raw: (x) => this.#raw(x),
    own: (tensor) => this.#own(tensor),
  };

  /** @internal A handle on a tensor that belongs to the caller. It is never disposed of here. */
  borrow(tensor: TfTensor, dtype: DType): TfjsTensor {
    this.#requireEngine();
    const { tf } = this.#engine;
    const bools = dtype === 'bool' ? normalizedBooleans(this.#engine, tensor) : undefined;
    if (bools !== undefined) return this.#own(bools);
    // Assigning to a variable replaces its data.
    if (tensor instanceof tf.Variable) return this.#own(tf.clone(tensor));
    const handle: TfjsTensor = { shape: [...tensor.shape], dtype, tensor };
    this.#tensors.borrow(handle);
    return handle;
  }

  /** @internal A tensor on the same data, owned by the caller. */
  export(x: TfjsTensor): TfTensor {
    return this.#engine.tf.clone(this.#raw(x));
  }

  #raw(x: TfjsTensor): TfTensor {
    this.#requireEngine();
    return this.#living(x);
  }

  #living(x: TfjsTensor): TfTensor {
    this.#throwIfDisposed();
    if (x.tensor.isDisposed) {
      throw new TopKError('DISPOSED', `${this.name}: a tf.Tensor was disposed of while it was in use`, {
        expected: 'tensors borrowed with fromTf that live as long as what is computed from them',
        got: `a disposed tensor of shape [${x.shape}]`,
        fix: 'Keep it (tf.keep, or dispose of it later), or copy it in with tensor(backend, await x.data(), x.shape)',
      });
    }
    return x.tensor;
  }

  #requireEngine(): void {
    this.#throwIfDisposed();
    const now = this.#engine.tf.getBackend();
    if (now !== this.#engine.name) throw this.#refusal(now);
    this.#watch.throwIfLost();
  }

  #throwIfDisposed(): void {
    if (!this.#isDisposed) return;
    throw new TopKError('DISPOSED', `${this.name}: the backend was used after dispose()`, {
      fix: 'Create a new backend',
    });
  }

  #refusal(now: string): TopKError {
    return new TopKError('MIXED_BACKENDS', `${this.name}: tf no longer runs the engine of this backend`, {
      expected: this.#engine.name,
      got: now,
      fix: `tf.setBackend('${this.#engine.name}'), or create a backend for ${now} and upload again`,
    });
  }

  /** A handle on the result of an op. `viewOf`: the tensor it shares its data with, if tf does not report it. */
  #own(tensor: TfTensor, viewOf?: TfjsTensor): TfjsTensor {
    const { tf } = this.#engine;
    const dtype = dtypeOfTf(tensor.dtype);
    if (dtype === undefined) throw new TypeError(`tf made a tensor of type ${tensor.dtype}`);
    const handle: TfjsTensor = { shape: tensor.shape, dtype, tensor: tf.keep(tensor) };
    this.#tensors.own(handle, viewOf);
    return handle;
  }

  // memory -------------------------------------------------------------------------------------------------------

  upload(data: TensorData, shape: Shape, dtype: DType): TfjsTensor {
    this.#requireEngine();
    const type = tfTypeOf(dtype);
    // A copy: tf may keep the array it is given, and the caller may change theirs.
    const own =
      dtype === 'f32'
        ? new Float32Array(data)
        : dtype === 'i32'
          ? new Int32Array(data)
          : new Uint8Array(data);
    const tensor = this.#engine.tf.tensor(own, [...shape], type);
    if (own instanceof Int32Array) rememberIntegers(this.#engine, tensor, own);
    return this.#own(tensor);
  }

  fill(value: number, shape: Shape, dtype: DType): TfjsTensor {
    this.#requireEngine();
    const tensor = this.#engine.tf.fill([...shape], value, tfTypeOf(dtype));
    if (dtype === 'i32') rememberFill(this.#engine, tensor, value);
    return this.#own(tensor);
  }

  async read(x: TfjsTensor): Promise<TensorData> {
    const tensor = this.#living(x);
    // A copy: tf may return the array that it goes on using.
    return (integersOf(tensor) ?? (await this.#watch.read(tensor))).slice();
  }

  async evaluate(xs: readonly TfjsTensor[]): Promise<void> {
    for (const x of xs) this.#living(x);
    if (this.#engine.traits.isEager) return;
    this.#requireEngine();
    const last = xs.filter((x) => sizeOf(x.shape) > 0).at(-1);
    if (last === undefined) return;
    // The engine works in order: once one element of the last tensor can be read, everything before it is done.
    const { tf } = this.#engine;
    const one = tf.tidy(() => tf.slice(tf.reshape(last.tensor, [-1]), [0], [1]));
    try {
      await this.#watch.read(one);
    } finally {
      one.dispose();
    }
  }

  flush(): void {
    // tf starts work by itself.
  }

  release(x: TfjsTensor): void {
    this.#tensors.release(x);
  }

  memory(): MemoryReport {
    return {
      live: this.#tensors.bytes,
      // Fused operations use tensors of tf that are not counted here; a peak without them would mislead.
      ...(this.fused === undefined && { peak: this.#tensors.peak }),
      covers:
        'tensors of this backend; not what an operation needs while it runs, what the engine keeps for reuse, nor tensors borrowed from the caller',
    };
  }

  resetPeak(): void {
    this.#tensors.resetPeak();
  }

  dispose(): void {
    if (this.#isDisposed) return;
    this.#tensors.releaseAll();
    this.#isDisposed = true;
  }

  // layout -------------------------------------------------------------------------------------------------------

  reshape(x: TfjsTensor, shape: Shape): TfjsTensor {
    const view = layout.reshape(this.#engine, this.#raw(x), shape);
    return this.#own(view, this.#engine.traits.renamesViews ? x : undefined);
  }

  transpose(x: TfjsTensor, permutation: readonly number[]): TfjsTensor {
    return this.#own(layout.transpose(this.#engine, this.#raw(x), permutation));
  }

  slice(x: TfjsTensor, starts: readonly number[], sizes: Shape): TfjsTensor {
    return this.#own(layout.slice(this.#engine, this.#raw(x), starts, sizes));
  }

  concat(xs: readonly TfjsTensor[], axis: number): TfjsTensor {
    const raw = xs.map((x) => this.#raw(x));
    return this.#own(layout.concat(this.#engine, raw, axis));
  }

  writeInto(dst: TfjsTensor, x: TfjsTensor, starts: readonly number[], _exclusive: boolean): TfjsTensor {
    return this.#own(layout.writeInto(this.#engine, this.#raw(dst), this.#raw(x), starts));
  }

  // elementwise --------------------------------------------------------------------------------------------------

  unary(op: UnaryOp, x: TfjsTensor): TfjsTensor {
    return this.#own(elementwise.unary(this.#engine, op, this.#raw(x)));
  }

  binary(op: BinaryOp, a: TfjsTensor, b: TfjsTensor): TfjsTensor {
    return this.#own(elementwise.binary(this.#engine, op, this.#raw(a), this.#raw(b)));
  }

  compare(op: CompareOp, a: TfjsTensor, b: TfjsTensor): TfjsTensor {
    return this.#own(elementwise.compare(this.#engine, op, this.#raw(a), this.#raw(b)));
  }

  isNaN(x: TfjsTensor): TfjsTensor {
    return this.#own(elementwise.isNaN(this.#engine, this.#raw(x)));
  }

  logicalAnd(a: TfjsTensor, b: TfjsTensor): TfjsTensor {
    return this.#own(elementwise.logicalAnd(this.#engine, this.#raw(a), this.#raw(b)));
  }

  logicalNot(x: TfjsTensor): TfjsTensor {
    return this.#own(elementwise.logicalNot(this.#engine, this.#raw(x)));
  }

  where(condition: TfjsTensor, a: TfjsTensor, b: TfjsTensor): TfjsTensor {
    const c = this.#raw(condition);
    return this.#own(elementwise.where(this.#engine, c, this.#raw(a), this.#raw(b)));
  }

  cast(x: TfjsTensor, dtype: DType): TfjsTensor {
    return this.#own(elementwise.cast(this.#engine, this.#raw(x), dtype));
  }

  // reductions, products and selection ---------------------------------------------------------------------------

  sum(x: TfjsTensor, axes: readonly number[]): TfjsTensor {
    return this.#own(reduce.sum(this.#engine, this.#raw(x), axes));
  }

  max(x: TfjsTensor, axes: readonly number[]): TfjsTensor {
    return this.#own(reduce.max(this.#engine, this.#raw(x), axes));
  }

  matmul(a: TfjsTensor, b: TfjsTensor, transposeA: boolean, transposeB: boolean): TfjsTensor {
    return this.#own(matmul(this.#engine, this.#raw(a), this.#raw(b), transposeA, transposeB));
  }

  softmax(x: TfjsTensor): TfjsTensor {
    return this.#own(softmaxRows(this.#engine, this.#raw(x)));
  }

  topK(x: TfjsTensor, k: number): { readonly values: TfjsTensor; readonly indices: TfjsTensor } {
    const { values, indices } = topK(this.#engine, this.#raw(x), k);
    return { values: this.#own(values), indices: this.#own(indices) };
  }

  takeAlong(x: TfjsTensor, indices: TfjsTensor): TfjsTensor {
    return this.#own(along.takeAlong(this.#engine, this.#raw(x), this.#raw(indices)));
  }

  putAlong(indices: TfjsTensor, values: TfjsTensor, n: number): TfjsTensor {
    return this.#own(along.putAlong(this.#engine, this.#raw(indices), this.#raw(values), n));
  }

  gatherRows(x: TfjsTensor, indices: TfjsTensor): TfjsTensor {
    return this.#own(rows.gatherRows(this.#engine, this.#raw(x), this.#raw(indices)));
  }

  scatterAddRows(n: number, indices: TfjsTensor, updates: TfjsTensor): TfjsTensor {
    return this.#own(rows.scatterAddRows(this.#engine, n, this.#raw(indices), this.#raw(updates)));
  }

  randomBits(seed: number, offset: readonly [number, number, number, number], shape: Shape): TfjsTensor {
    this.#requireEngine();
    return this.#own(randomBits(this.#engine, seed, offset, shape));
  }
}
