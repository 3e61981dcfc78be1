import { TopKError, toEngineError } from '@topk-attention/core';
import { usedAfterDispose } from '../runtime/errors.js';
import type { Sessions } from '../runtime/sessions.js';
import type { Graph } from './graph.js';
import type { AnyOperation, ChunkedOperation, OnnxNode, Operation } from './node.js';
import { pendingAncestors, schedule } from './schedule.js';
import { describeSegment } from './segment.js';

interface Waiting {
  readonly nodes: readonly OnnxNode[];
  /** Hands the computed nodes to whoever asked. */
  readonly deliver: () => Promise<void>;
  readonly reject: (error: unknown) => void;
}

/** Computes nodes: collects what they need, cuts it into steps, runs one after the other. */
export class Executor {
  readonly #graph: Graph;
  readonly #sessions: Sessions;
  readonly #waiting: Waiting[] = [];
  #running: Promise<void> | undefined;
  #isClosed = false;

  constructor(graph: Graph, sessions: Sessions) {
    this.#graph = graph;
    this.#sessions = sessions;
  }

  /**
   * Computes the nodes and hands them to `use`; they stay alive until then even if they are released meanwhile. What is
   * asked for at the same time is computed together; what is asked for during a run waits for its end, and finds its
   * results.
   */
  evaluate<R>(nodes: readonly OnnxNode[], use: () => R | Promise<R>): Promise<R> {
    if (this.#isClosed) return Promise.reject(usedAfterDispose());
    const letGo = this.#graph.hold(nodes);
    return new Promise<R>((resolve, reject) => {
      this.#waiting.push({ nodes, deliver: async () => resolve(await use()), reject });
      this.#running ??= this.#drain();
    }).finally(letGo);
  }

  /** Refuses what is not begun and whatever comes; resolves when nothing is running. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const { reject } of this.#waiting.splice(0)) reject(usedAfterDispose());
    await this.#running;
  }

  async #drain(): Promise<void> {
    // One turn later: callers of the same turn belong together.
    await Promise.resolve();
    while (this.#waiting.length > 0) await this.#serve(this.#waiting.splice(0));
    this.#running = undefined;
  }

  async #serve(batch: readonly Waiting[]): Promise<void> {
    try {
      await this.#evaluate(batch.flatMap(({ nodes }) => nodes));
      for (const one of batch) await one.deliver().catch(one.reject);
    } catch (error) {
      // Each gets an error of its own, or its result where the failure was another's.
      if (batch.length === 1) batch[0]?.reject(error);
      else for (const one of batch) await this.#serve([one]);
    }
  }

  async #evaluate(nodes: readonly OnnxNode[]): Promise<void> {
    const order = pendingAncestors(nodes);
    for (const operation of order) this.#inheritFailure(operation);
    for (const node of nodes) this.#check(node);
    for (const step of schedule(order)) {
      if (step.kind === 'segment') await this.#runSegment(step.operations);
      else await this.#runChunked(step.operation);
    }
  }

  #check(node: OnnxNode): void {
    if (node.failure !== undefined) throw node.failure;
    if (node.storage === undefined && node.operation === undefined) {
      throw new TopKError('DISPOSED', 'tensor of the ONNX Runtime backend used after its release');
    }
  }

  #inheritFailure(operation: AnyOperation): void {
    const failed = operation.inputs.find((input) => input.failure !== undefined);
    if (failed?.failure !== undefined) this.#graph.fail([operation], failed.failure);
  }

  async #runSegment(operations: readonly Operation[]): Promise<void> {
    const { leaves, parameters, results, ...session } = describeSegment(operations);
    await this.#guarded(operations, leaves, async () => {
      const inputs = [...leaves.map((leaf) => this.#graph.valueOf(leaf)), ...parameters];
      const values = await this.#sessions.run(session, inputs);
      return results.map((node, index) => ({ node, value: values[index] }));
    });
  }

  async #runChunked(operation: ChunkedOperation): Promise<void> {
    await this.#guarded([operation], operation.inputs, async () => {
      const values = await operation.execute(operation.inputs.map((input) => this.#graph.valueOf(input)));
      return operation.outputs.map((node, index) => ({ node, value: values[index] }));
    });
  }

  /** Pins the inputs while the work runs, settles its results, and poisons its operations if it throws. */
  async #guarded(
    operations: readonly AnyOperation[],
    inputs: readonly OnnxNode[],
    work: () => Promise<readonly { readonly node: OnnxNode; readonly value: OrtTensorOrNothing }[]>,
  ): Promise<void> {
    const unpin = this.#graph.pin(inputs);
    try {
      for (const { node, value } of await work()) if (value !== undefined) this.#graph.settle(node, value);
      this.#graph.finish(operations);
    } catch (error) {
      const failure = toEngineError(error, 'onnxruntime');
      this.#graph.fail(operations, failure);
      throw failure;
    } finally {
      unpin();
    }
  }
}

type OrtTensorOrNothing = ReturnType<Graph['valueOf']> | undefined;
