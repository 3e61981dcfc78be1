import { bytesPerElement, type DType, type Shape, sizeOf, TopKError } from '@topk-attention/core';
import { sameShape } from '@topk-attention/core/backend';
import { usedAfterDispose } from '../runtime/errors.js';
import type { OrtArray, OrtModule, OrtTensor } from '../runtime/ort.js';
import { arrayFor, ortType } from './dtypes.js';
import { type AnyOperation, OnnxNode, type Operation, type Storage } from './node.js';

export interface OutputSpec {
  readonly shape: Shape;
  readonly dtype: DType;
}

/** What a primitive says about the operation it adds. */
export interface OperationSpec {
  readonly key: string;
  readonly inputs: readonly OnnxNode[];
  readonly parameters?: readonly OrtTensor[];
  readonly emit: Operation['emit'];
}

/** Owns nodes and the bytes behind them. Knows nothing about sessions. */
export class Graph {
  readonly ort: OrtModule;
  readonly #borrowed = new WeakSet<OrtTensor>();
  #live = 0;
  #peak = 0;
  #isClosed = false;
  #epoch = 0;
  #spare: Int32Array | undefined;

  constructor(ort: OrtModule) {
    this.ort = ort;
  }

  get live(): number {
    return this.#isClosed ? 0 : this.#live;
  }

  get peak(): number {
    return this.#peak;
  }

  resetPeak(): void {
    this.#peak = this.#live;
  }

  /** Refuses all further use, and stops counting what is left. */
  close(): void {
    this.#isClosed = true;
  }

  #requireOpen(): void {
    if (this.#isClosed) throw usedAfterDispose();
  }

  // leaves -------------------------------------------------------------------------------------------------------

  /** A computed node around values that this graph owns. */
  leaf(data: OrtArray, shape: Shape, dtype: DType): OnnxNode {
    this.#requireOpen();
    const node = new OnnxNode(shape, dtype);
    this.settle(node, new this.ort.Tensor(ortType(dtype), data, shape));
    return node;
  }

  /**
   * A leaf whose values are made when a run first needs them, so that the leaves of many chunks do not exist at once.
   * `make` may reuse the i32 array of an earlier leaf that has been released, as random numbers do from chunk to
   * chunk.
   */
  deferred(make: (spare: Int32Array | undefined) => OrtArray, shape: Shape, dtype: DType): OnnxNode {
    this.#requireOpen();
    const node = new OnnxNode(shape, dtype);
    node.make = make;
    return node;
  }

  /** Makes the values of deferred leaves. */
  supply(nodes: Iterable<OnnxNode>): void {
    for (const node of nodes) {
      if (node.make === undefined) continue;
      const spare = this.#spare?.length === sizeOf(node.shape) ? this.#spare : undefined;
      const data = node.make(spare);
      if (data === spare) this.#spare = undefined;
      node.make = undefined;
      const tensor = new this.ort.Tensor(ortType(node.dtype), data, node.shape);
      this.settle(node, tensor, data instanceof Int32Array ? data : undefined);
    }
  }

  /** Releases the array kept for the next deferred leaf. */
  forgetSpare(): void {
    this.#spare = undefined;
  }

  /** A computed node around a tensor that belongs to the caller. */
  borrow(tensor: OrtTensor, shape: Shape, dtype: DType): OnnxNode {
    this.#requireOpen();
    const node = new OnnxNode(shape, dtype);
    node.storage = { references: 1, bytes: 0, tensor, isShared: true };
    this.#borrowed.add(tensor);
    return node;
  }

  /** A computed node filled with one value. */
  constant(value: number, shape: Shape, dtype: DType): OnnxNode {
    return this.leaf(arrayFor(dtype, sizeOf(shape)).fill(value), shape, dtype);
  }

  /** True for tensors that belong to the caller, whose values may change at any time. */
  isBorrowed(tensor: OrtTensor): boolean {
    return this.#borrowed.has(tensor);
  }

  /** int64 inputs of a run that are not part of the graph's structure. */
  parameter(values: readonly number[]): OrtTensor {
    return new this.ort.Tensor('int64', BigInt64Array.from(values, BigInt), [values.length]);
  }

  /** A node with the same values in another shape: a view if the values exist, else a node of the graph. */
  view(x: OnnxNode, shape: Shape): OnnxNode {
    this.#requireOpen();
    if (x.storage?.tensor.location === 'cpu') {
      const node = new OnnxNode(shape, x.dtype);
      x.storage.references++;
      node.storage = x.storage;
      return node;
    }
    return this.add(
      { key: `reshape[${shape}]`, inputs: [x], emit: (graph, [a]) => [graph.reshape(a as string, shape)] },
      { shape, dtype: x.dtype },
    );
  }

  // operations -----------------------------------------------------------------------------------------------------

  /** Adds an operation with one output. */
  add(spec: OperationSpec, output: OutputSpec): OnnxNode {
    return this.addAll(spec, [output])[0] as OnnxNode;
  }

  addAll(spec: OperationSpec, outputs: readonly OutputSpec[]): readonly OnnxNode[] {
    return this.attach({ ...spec, parameters: spec.parameters ?? [], outputs: [] }, outputs);
  }

  /**
   * Links an operation between its inputs and fresh output nodes. A failed input fails the outputs. Empty results are
   * made immediately, because the engine divides by extents.
   */
  attach(operation: AnyOperation, outputs: readonly OutputSpec[]): readonly OnnxNode[] {
    this.#requireOpen();
    if (outputs.every(({ shape }) => sizeOf(shape) === 0)) {
      return outputs.map(({ shape, dtype }) => this.leaf(arrayFor(dtype, 0), shape, dtype));
    }
    const nodes = outputs.map(({ shape, dtype }) => new OnnxNode(shape, dtype));
    const failure = operation.inputs.find((input) => input.failure !== undefined)?.failure;
    for (const node of nodes) {
      if (failure !== undefined) node.failure = failure;
      else node.operation = operation;
    }
    operation.outputs = nodes;
    operation.epoch = this.#epoch;
    if (failure === undefined) for (const input of operation.inputs) input.uses++;
    return nodes;
  }

  /** Operations added from now on run after those added before, in separate sessions. */
  cut(): void {
    this.#epoch++;
  }

  // lifetime -------------------------------------------------------------------------------------------------------

  release(node: OnnxNode): void {
    node.held = false;
    this.#collect(node);
  }

  /** Drops values and operations that can no longer be asked for. */
  #collect(node: OnnxNode): void {
    const pending: OnnxNode[] = [node];
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      if (next.held || next.uses > 0) continue;
      this.#dropStorage(next);
      const { operation } = next;
      if (operation === undefined) continue;
      if (operation.outputs.some((output) => output.held || output.uses > 0)) continue;
      for (const output of operation.outputs) output.operation = undefined;
      for (const input of operation.inputs) {
        input.uses--;
        pending.push(input);
      }
    }
  }

  #dropStorage(node: OnnxNode): void {
    const { storage } = node;
    node.storage = undefined;
    node.make = undefined;
    if (storage !== undefined) this.#drop(storage);
  }

  #drop(storage: Storage): void {
    if (--storage.references > 0) return;
    this.#live -= storage.bytes;
    if (storage.isShared) return;
    this.#spare = storage.spare ?? this.#spare;
    storage.tensor.dispose();
  }

  /** Counts as a user of the nodes until the returned function is called. */
  hold(nodes: readonly OnnxNode[]): () => void {
    for (const node of nodes) node.uses++;
    return () => {
      for (const node of nodes) {
        node.uses--;
        this.#collect(node);
      }
    };
  }

  /** Keeps the values of computed nodes while a run reads them, even if the nodes are released meanwhile. */
  pin(nodes: Iterable<OnnxNode>): () => void {
    const pinned = [...nodes].flatMap(({ storage }) => (storage === undefined ? [] : [storage]));
    for (const storage of pinned) storage.references++;
    return () => {
      for (const storage of pinned) this.#drop(storage);
    };
  }

  /** Stores a computed value, or disposes of it if nothing needs the node any more. */
  settle(node: OnnxNode, tensor: OrtTensor, spare?: Int32Array): void {
    if (!node.held && node.uses === 0) {
      tensor.dispose();
      return;
    }
    const bytes = sizeOf(node.shape) * bytesPerElement(node.dtype);
    const storage: Storage = { references: 1, bytes, tensor, isShared: false, ...(spare && { spare }) };
    node.storage = storage;
    this.#live += bytes;
    this.#peak = Math.max(this.#peak, this.#live);
  }

  /** Ends operations that ran: unlinks them from their inputs and outputs. */
  finish(operations: readonly AnyOperation[]): void {
    for (const operation of operations) {
      // Released while it ran, so already collected.
      if (operation.outputs.every((output) => output.operation !== operation)) continue;
      for (const output of operation.outputs) output.operation = undefined;
      for (const input of operation.inputs) {
        input.uses--;
        this.#collect(input);
      }
    }
    for (const operation of operations) for (const output of operation.outputs) this.#collect(output);
  }

  /** Ends operations that failed: nothing that depends on them ever returns a value. */
  fail(operations: readonly AnyOperation[], failure: TopKError): void {
    for (const operation of operations) {
      for (const output of operation.outputs) if (output.storage === undefined) output.failure = failure;
    }
    this.finish(operations);
  }

  /** The engine tensor of a computed node, for the caller to keep: it is not disposed of with the node. */
  export(node: OnnxNode): OrtTensor {
    const tensor = this.valueOf(node);
    if (node.storage !== undefined) node.storage.isShared = true;
    return tensor;
  }

  /** The engine tensor of a computed node. */
  valueOf(node: OnnxNode): OrtTensor {
    if (node.failure !== undefined) throw node.failure;
    if (node.storage === undefined) {
      throw new TopKError('DISPOSED', 'onnxruntime: a tensor was used after its storage was released');
    }
    const { tensor } = node.storage;
    // A view: the same array with other dims.
    if (sameShape(tensor.dims, node.shape)) return tensor;
    const view = tensor.reshape(node.shape);
    if (this.#borrowed.has(tensor)) this.#borrowed.add(view);
    return view;
  }
}
