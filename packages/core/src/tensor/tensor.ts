/// <reference lib="esnext.disposable" preserve="true" />
import type { Backend, BackendTensor } from '../contract/backend.js';
import type { DType, TensorData } from '../contract/dtype.js';
import { TopKError, toEngineError } from '../contract/errors.js';
import { formatShape, type Shape, sizeOf } from '../contract/shape.js';
import { registerInScope } from './scope-stack.js';

let made = 0;

/** Values made so far. */
export const valuesMade = (): number => made;

/**
 * A value shared by the handles that name it: callers' tensors and the aliases a tape keeps. The backend's own
 * reference is released with the last of them.
 */
export class Value {
  /** Values made before it. */
  readonly serial: number = made++;
  readonly backend: Backend;
  readonly shape: Shape;
  readonly dtype: DType;
  /** Undefined once released, or if `failure` is set. */
  #handle: BackendTensor | undefined;
  #references = 0;
  /** Set when the engine failed while making this value: nothing is ever returned from it. */
  readonly failure: TopKError | undefined;

  constructor(backend: Backend, shape: Shape, dtype: DType, handle: BackendTensor | TopKError) {
    this.backend = backend;
    this.shape = shape;
    this.dtype = dtype;
    if (handle instanceof TopKError) this.failure = handle;
    else this.#handle = handle;
  }

  get references(): number {
    return this.#references;
  }

  get handle(): BackendTensor {
    if (this.#handle !== undefined) return this.#handle;
    throw this.failure ?? new TopKError('DISPOSED', 'a tensor was used after its storage was released');
  }

  retain(): void {
    this.#references++;
  }

  drop(): void {
    if (--this.#references > 0 || this.#handle === undefined) return;
    const handle = this.#handle;
    this.#handle = undefined;
    this.backend.release(handle);
  }
}

/**
 * A counted handle on a value of a backend: shape and dtype are known at once, the numbers when `data()` resolves.
 * `dispose()` drops this handle; the storage lives on while another handle, a tape or an unevaluated graph needs it.
 */
export class Tensor {
  readonly backend: Backend;
  readonly shape: Shape;
  readonly dtype: DType;
  readonly #value: Value;
  #disposed = false;

  /** @internal Use `tensor(backend, data, shape)` or `fromBackendTensor`. */
  constructor(value: Value, scoped = true) {
    value.retain();
    this.#value = value;
    this.backend = value.backend;
    this.shape = value.shape;
    this.dtype = value.dtype;
    if (scoped) registerInScope(this);
  }

  get rank(): number {
    return this.shape.length;
  }

  /** Number of elements. */
  get size(): number {
    return sizeOf(this.shape);
  }

  get isDisposed(): boolean {
    return this.#disposed;
  }

  /** @internal The shared value; identity of a value on tapes. */
  get value(): Value {
    if (this.#disposed) {
      throw new TopKError('DISPOSED', `tensor of shape ${formatShape(this.shape)} used after dispose()`, {
        fix: 'Keep it (return it from scope(), or dispose it later)',
      });
    }
    return this.#value;
  }

  /** The engine-side value, for a backend's functions that hand out native values. Throws when disposed or poisoned. */
  get handle(): BackendTensor {
    return this.value.handle;
  }

  /** A second handle on the same value, with its own lifetime. */
  alias(): Tensor {
    return new Tensor(this.value);
  }

  /** @internal An alias that no open scope disposes of. */
  unscopedAlias(): Tensor {
    return new Tensor(this.value, false);
  }

  /**
   * Row-major copy of the values: Float32Array, Int32Array, Uint8Array (bool) or Uint16Array (f16 bits).
   * Rejects with the engine's error if anything this tensor depends on failed.
   */
  async data(): Promise<TensorData> {
    const { handle } = this.value; // throws the poison of a failed value
    try {
      return await this.backend.read(handle);
    } catch (error) {
      throw toEngineError(error, `${this.backend.name}.read`);
    }
  }

  /** Drops this handle. Calling it again does nothing; using the tensor afterwards is a DISPOSED error. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#value.drop();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Wraps a value that a backend made itself, as a tensor. */
export function fromBackendTensor(backend: Backend, made: BackendTensor): Tensor {
  return new Tensor(new Value(backend, made.shape, made.dtype, made));
}

/** Waits until every tensor is computed; work they share runs once. Rejects with the engine's error. */
export async function evaluate(...tensors: readonly Tensor[]): Promise<void> {
  const groups = new Map<Backend, BackendTensor[]>();
  for (const one of tensors) {
    const handles = groups.get(one.backend) ?? [];
    handles.push(one.handle);
    groups.set(one.backend, handles);
  }
  for (const [backend, handles] of groups) {
    try {
      await backend.evaluate(handles);
    } catch (error) {
      throw toEngineError(error, `${backend.name}.evaluate`);
    }
  }
}
