import type { Backend, DType, Shape, TensorData } from '@topk-attention/core';
import { sizeOf } from '@topk-attention/core';
import {
  type BinaryOp,
  type Capabilities,
  type CompareOp,
  type ComposedBytes,
  type FusedOperations,
  type MemoryReport,
  philoxBits,
  type UnaryOp,
} from '@topk-attention/core/backend';
import { fusedAttention } from './attention/fused-attention.js';
import { fusedFeedForward } from './feed-forward/fused-feed-forward.js';
import { composedBytes } from './graph/composed-bytes.js';
import { arrayFor, copyForEngine, copyFromEngine } from './graph/dtypes.js';
import { Executor } from './graph/executor.js';
import { Graph } from './graph/graph.js';
import type { OnnxNode } from './graph/node.js';
import { limits } from './limits.js';
import * as elementwise from './primitives/elementwise.js';
import * as layout from './primitives/layout.js';
import { matmul } from './primitives/matmul.js';
import * as reduce from './primitives/reduce.js';
import * as select from './primitives/select.js';
import type { OrtModule, OrtTensor } from './runtime/ort.js';
import { type SessionLimits, type SessionStatistics, Sessions } from './runtime/sessions.js';

/** Filled tensors up to this many elements are plain inputs; larger ones are expanded in the graph. */
const LARGEST_UPLOADED_FILL = 1024;

/**
 * A lazy graph on ONNX Runtime. Primitives only add nodes; `read` and `evaluate` compile nodes not yet computed into
 * sessions, which are reused by structure, and run them. Made by `createOnnxRuntimeBackend`.
 */
export class OnnxRuntimeBackend implements Backend<OnnxNode> {
  readonly name = 'onnxruntime';
  readonly capabilities: Capabilities = {
    dtypes: ['f32', 'i32', 'bool'],
    floatStorage: 'f32',
    deterministicScatter: true,
    execution: 'lazy',
    limits,
  };
  readonly fused: FusedOperations<OnnxNode>;
  readonly composedBytes: ComposedBytes = composedBytes;
  /** Where the work runs, in order of preference. */
  readonly executionProviders: readonly string[];
  /** The module in use: the caller's, or the one imported. */
  readonly ort: OrtModule;
  readonly #graph: Graph;
  readonly #sessions: Sessions;
  readonly #executor: Executor;
  #disposal: Promise<void> | undefined;

  /** @internal Use `createOnnxRuntimeBackend`. */
  constructor(
    ort: OrtModule,
    executionProviders: readonly string[],
    sessionOptions: { readonly [option: string]: unknown },
    sessionLimits: SessionLimits,
  ) {
    this.ort = ort;
    this.executionProviders = executionProviders;
    this.#graph = new Graph(ort);
    this.#sessions = new Sessions(ort, { ...sessionOptions, executionProviders }, sessionLimits);
    this.#executor = new Executor(this.#graph, this.#sessions);
    this.fused = {
      attention: fusedAttention(this.#graph, this.#sessions),
      feedForward: fusedFeedForward(this.#graph, this.#sessions),
    };
  }

  /** @internal For native in and out. */
  get graph(): Graph {
    return this.#graph;
  }

  /** Counts since creation: sessions compiled, `session.run` calls, bytes that came back into JavaScript. */
  statistics(): SessionStatistics {
    return this.#sessions.statistics();
  }

  // memory -----------------------------------------------------------------------------------------------------

  upload(data: TensorData, shape: Shape, dtype: DType): OnnxNode {
    return this.#graph.leaf(copyForEngine(data, dtype), shape, dtype);
  }

  fill(value: number, shape: Shape, dtype: DType): OnnxNode {
    if (sizeOf(shape) <= LARGEST_UPLOADED_FILL) return this.#graph.constant(value, shape, dtype);
    // Pages of zeros that are never written to take no memory.
    if (value === 0) return this.#graph.deferred(() => arrayFor(dtype, sizeOf(shape)), shape, dtype);
    const one = this.#graph.constant(value, [], dtype);
    const filled = this.#graph.add(
      { key: `fill[${shape}]`, inputs: [one], emit: (onnx, [a]) => [onnx.filled(a as string, shape)] },
      { shape, dtype },
    );
    this.#graph.release(one);
    return filled;
  }

  read(x: OnnxNode): Promise<TensorData> {
    return this.#executor.evaluate([x], async () => {
      const value = this.#graph.valueOf(x);
      const data = value.location === 'cpu' ? value.data : await value.getData();
      return copyFromEngine(data, x.dtype);
    });
  }

  /** @internal The engine tensor of a node, which from now on belongs to the caller too. */
  export(x: OnnxNode): Promise<OrtTensor> {
    return this.#executor.evaluate([x], () => this.#graph.export(x));
  }

  evaluate(xs: readonly OnnxNode[]): Promise<void> {
    return this.#executor.evaluate(xs, () => undefined);
  }

  flush(): void {
    // Sessions run only when a result is awaited: the engine has no queue that could start early.
    this.#graph.cut();
  }

  release(x: OnnxNode): void {
    if (this.#disposal === undefined) this.#graph.release(x);
  }

  memory(): MemoryReport {
    return {
      live: this.#graph.live,
      peak: this.#graph.peak,
      covers:
        'computed and uploaded tensors; not the scratch memory of sessions, nor tensors borrowed from the caller',
    };
  }

  resetPeak(): void {
    this.#graph.resetPeak();
  }

  /**
   * Ends the backend. Current work finishes its session run, or rejects with DISPOSED if it needs more; all later use
   * fails with DISPOSED. Resolves when the engine's sessions are released.
   */
  dispose(): Promise<void> {
    this.#disposal ??= this.#close();
    return this.#disposal;
  }

  async #close(): Promise<void> {
    this.#graph.close();
    this.#sessions.close();
    await this.#executor.close();
    await this.#sessions.dispose();
  }

  // layout -----------------------------------------------------------------------------------------------------

  reshape(x: OnnxNode, shape: Shape): OnnxNode {
    return this.#graph.view(x, shape);
  }

  transpose(x: OnnxNode, permutation: readonly number[]): OnnxNode {
    return layout.transpose(this.#graph, x, permutation);
  }

  slice(x: OnnxNode, starts: readonly number[], sizes: Shape): OnnxNode {
    return layout.slice(this.#graph, x, starts, sizes);
  }

  concat(xs: readonly OnnxNode[], axis: number): OnnxNode {
    return layout.concat(this.#graph, xs, axis);
  }

  writeInto(dst: OnnxNode, x: OnnxNode, starts: readonly number[], _exclusive: boolean): OnnxNode {
    return layout.writeInto(this.#graph, dst, x, starts);
  }

  // elementwise ------------------------------------------------------------------------------------------------

  unary(op: UnaryOp, x: OnnxNode): OnnxNode {
    return elementwise.unary(this.#graph, op, x);
  }

  binary(op: BinaryOp, a: OnnxNode, b: OnnxNode): OnnxNode {
    return elementwise.binary(this.#graph, op, a, b);
  }

  compare(op: CompareOp, a: OnnxNode, b: OnnxNode): OnnxNode {
    return elementwise.compare(this.#graph, op, a, b);
  }

  isNaN(x: OnnxNode): OnnxNode {
    return elementwise.testNaN(this.#graph, x);
  }

  logicalAnd(a: OnnxNode, b: OnnxNode): OnnxNode {
    return elementwise.logicalAnd(this.#graph, a, b);
  }

  logicalNot(x: OnnxNode): OnnxNode {
    return elementwise.logicalNot(this.#graph, x);
  }

  where(condition: OnnxNode, a: OnnxNode, b: OnnxNode): OnnxNode {
    return elementwise.where(this.#graph, condition, a, b);
  }

  cast(x: OnnxNode, dtype: DType): OnnxNode {
    return elementwise.cast(this.#graph, x, dtype);
  }

  // reductions, products and selection ---------------------------------------------------------------------------

  sum(x: OnnxNode, axes: readonly number[]): OnnxNode {
    return reduce.sum(this.#graph, x, axes);
  }

  max(x: OnnxNode, axes: readonly number[]): OnnxNode {
    return reduce.max(this.#graph, x, axes);
  }

  matmul(a: OnnxNode, b: OnnxNode, transposeA: boolean, transposeB: boolean): OnnxNode {
    return matmul(this.#graph, a, b, transposeA, transposeB);
  }

  softmax(x: OnnxNode): OnnxNode {
    return reduce.softmax(this.#graph, x);
  }

  topK(x: OnnxNode, k: number): { readonly values: OnnxNode; readonly indices: OnnxNode } {
    return select.topK(this.#graph, x, k);
  }

  takeAlong(x: OnnxNode, indices: OnnxNode): OnnxNode {
    return select.takeAlong(this.#graph, x, indices);
  }

  putAlong(indices: OnnxNode, values: OnnxNode, n: number): OnnxNode {
    return select.putAlong(this.#graph, indices, values, n);
  }

  gatherRows(x: OnnxNode, indices: OnnxNode): OnnxNode {
    return select.gatherRows(this.#graph, x, indices);
  }

  scatterAddRows(n: number, indices: OnnxNode, updates: OnnxNode): OnnxNode {
    return select.scatterAddRows(this.#graph, n, indices, updates);
  }

  randomBits(seed: number, offset: readonly [number, number, number, number], shape: Shape): OnnxNode {
    return this.#graph.deferred((spare) => philoxBits(seed, offset, shape, spare), shape, 'i32');
  }
}
