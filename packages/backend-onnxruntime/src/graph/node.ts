import type { DType, Shape, TopKError } from '@topk-attention/core';
import type { BackendTensor } from '@topk-attention/core/backend';
import type { GraphBuilder } from '../onnx/graph-builder.js';
import type { OrtArray, OrtTensor } from '../runtime/ort.js';

/** Bytes of one engine tensor, shared by the nodes that view them. */
export interface Storage {
  /** Nodes that hold it. */
  references: number;
  /** 0 for a tensor that belongs to the caller. */
  readonly bytes: number;
  readonly tensor: OrtTensor;
  /** An array that the next deferred leaf may reuse once this is dropped. */
  readonly spare?: Int32Array;
  /** True when the caller has the tensor too (borrowed or handed out): it must not be disposed of here. */
  isShared: boolean;
}

/** Part of a graph that becomes ONNX nodes. */
export interface Operation {
  /** Kind and attributes: everything that `emit` depends on except the shapes of the inputs. Two operations with equal keys and inputs emit the same nodes. */
  readonly key: string;
  readonly inputs: readonly OnnxNode[];
  /** Values that may differ between equal graphs: starts of slices, bounds. */
  readonly parameters: readonly OrtTensor[];
  outputs: readonly OnnxNode[];
  /** Number of cuts of the graph before it was added. */
  epoch?: number;
  /** Adds the nodes and returns the names of the outputs. */
  emit(graph: GraphBuilder, inputs: readonly string[], parameters: readonly string[]): readonly string[];
}

/** Part of a graph that runs in its own sessions, once per chunk. */
export interface ChunkedOperation {
  readonly inputs: readonly OnnxNode[];
  outputs: readonly OnnxNode[];
  epoch?: number;
  execute(inputs: readonly OrtTensor[]): Promise<readonly OrtTensor[]>;
}

export type AnyOperation = Operation | ChunkedOperation;

export function isChunked(operation: AnyOperation): operation is ChunkedOperation {
  return 'execute' in operation;
}

/**
 * A value of the lazy graph: computed (`storage`), failed (`failure`), or still to be computed by `operation` or
 * `make`. `held` says that core holds it; `uses` counts pending operations that read it. A pending operation is
 * forgotten once none of its outputs is held or used.
 */
export class OnnxNode implements BackendTensor {
  readonly shape: Shape;
  readonly dtype: DType;
  held = true;
  uses = 0;
  storage: Storage | undefined;
  /** Makes the values of a leaf when they are first needed, in a spare array of the right size if there is one. */
  make: ((spare: Int32Array | undefined) => OrtArray) | undefined;
  operation: AnyOperation | undefined;
  failure: TopKError | undefined;

  constructor(shape: Shape, dtype: DType) {
    this.shape = shape;
    this.dtype = dtype;
  }
}
